import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { loaderFlags, type Role } from '../../services/local/supervisor.ts';

const ROOT = fileURLToPath(new URL('../../', import.meta.url));
const COMPILER = 'node_modules/typescript/bin/tsc';

const compiling = new Map<string, Promise<unknown>>();

/**
 * Node's arguments for a service as the images run it: compiled. Under the sources' loader it would take half as much memory
 * again, and be the longer in dying.
 */
export async function compiledService(role: Role): Promise<string[]> {
  const script = await compiled('tsconfig.build.json', `services/${role}/main.js`);
  return [...loaderFlags(script), script];
}

/** The path of a script of this project, a TypeScript project of its own for it being compiled into `dist/`, once for each process. */
export async function compiled(project: string, script: string): Promise<string> {
  const compilation =
    compiling.get(project) ?? promisify(execFile)(process.execPath, [COMPILER, '-p', project], { cwd: ROOT });
  compiling.set(project, compilation);
  await compilation;
  return `${ROOT}dist/${script}`;
}
