import { cp, mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import type { Edit, Guard } from './guard.ts';

const ROOT = resolve(import.meta.dirname, '../..');
/** All that a simulation is made of. */
const SOURCES = ['package.json', 'services', 'shared', 'test/simulation'];

export interface Unguarded {
  readonly simulate: typeof import('./run.ts').simulate;
  remove(): Promise<void>;
}

/**
 * The simulation of a system that lacks a guard: made of a copy of the sources without it, so that they need no switch for it.
 * @throws where the guard does not stand in the sources as it is known here: it was changed, and must be named anew.
 */
export async function loadUnguarded(guard: Guard): Promise<Unguarded> {
  const copy = await mkdtemp(join(tmpdir(), 'notifi-scaler-unguarded-'));
  const remove = () => rm(copy, { recursive: true, force: true });
  try {
    for (const path of SOURCES) await cp(join(ROOT, path), join(copy, path), { recursive: true });
    await symlink(join(ROOT, 'node_modules'), join(copy, 'node_modules'), 'dir');
    for (const edit of guard.edits) await apply(copy, edit);
    const run: typeof import('./run.ts') = await import(pathToFileURL(join(copy, 'test/simulation/run.ts')).href);
    return { simulate: run.simulate, remove };
  } catch (error) {
    await remove();
    throw error;
  }
}

async function apply(copy: string, { file, from, to }: Edit): Promise<void> {
  const path = join(copy, file);
  const text = await readFile(path, 'utf8');
  const times = text.split(from).length - 1;
  if (times !== 1) throw new Error(`${file}: expected once, found ${times} times: ${from.trim()}; name the guard anew`);
  await writeFile(
    path,
    text.replace(from, () => to),
  );
}
