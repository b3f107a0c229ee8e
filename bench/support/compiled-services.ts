import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { loaderFlags, type Role } from '../../services/local/supervisor.ts';

const ROOT = fileURLToPath(new URL('../../', import.meta.url));
const COMPILER = ['node_modules/typescript/bin/tsc', '-p', 'bench/tsconfig.compiled.json'];

let compiling: Promise<unknown> | null = null;

/**
 * Node's arguments for a service as the images run it: compiled. Under the sources' loader it would take half as much memory
 * again, and be the longer in dying.
 */
export async function compiledService(role: Role): Promise<string[]> {
  const script = await compiled(`services/${role}/main.js`);
  return [...loaderFlags(script), script];
}

/** The path of a compiled script of this project. Compiles into `dist/`, once for each process. */
export async function compiled(script: string): Promise<string> {
  compiling ??= promisify(execFile)(process.execPath, COMPILER, { cwd: ROOT });
  await compiling;
  return `${ROOT}dist/${script}`;
}
