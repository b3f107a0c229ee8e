import type { Cluster } from './cluster.ts';
import { lastLine, SetupError } from './command.ts';
import { type Installation, KINDS } from './installation.ts';

const DELETE_LIMIT = '--timeout=180s';

/**
 * Makes the namespace where there is none.
 * @returns whether it was made here, and so may be deleted.
 * @throws {SetupError} when it may not be made, or holds anything of releases by these names: the volumes and passwords
 * of an earlier one are kept on purpose, and would not survive the end of the walk.
 */
export async function prepareNamespace(cluster: Cluster, installations: readonly Installation[]): Promise<boolean> {
  const { namespace } = cluster;
  if ((await cluster.kubectl(['get', 'namespace', namespace])).code !== 0) return makeNamespace(cluster);
  for (const one of installations) {
    const found = (await cluster.read(['get', KINDS, '-l', one.selector(), '-o', 'name']))
      .trim()
      .split('\n')
      .join(', ');
    if (found === '') continue;
    throw new SetupError(
      `the namespace ${namespace} has things of a release ${one.release}: ${found}\nGive another --namespace or --release`,
    );
  }
  return false;
}

async function makeNamespace(cluster: Cluster): Promise<true> {
  const { code, stderr } = await cluster.kubectl(['create', 'namespace', cluster.namespace]);
  if (code === 0) return true;
  throw new SetupError(
    `cannot create the namespace ${cluster.namespace}: ${lastLine(stderr)}\nGive one that you may use: --namespace`,
  );
}

/** Takes away what was made: the namespace, or in another's namespace the releases with their volumes and passwords. */
export async function cleanUp(
  cluster: Cluster,
  made: { readonly isOwnNamespace: boolean; readonly installations: readonly Installation[] },
): Promise<void> {
  if (!made.isOwnNamespace) {
    for (const installation of made.installations) await installation.remove();
    return;
  }
  const { code, stderr } = await cluster.kubectl(['delete', 'namespace', cluster.namespace, DELETE_LIMIT]);
  if (code !== 0) cluster.progress.say(`the namespace ${cluster.namespace} is not gone yet: ${lastLine(stderr)}`);
}
