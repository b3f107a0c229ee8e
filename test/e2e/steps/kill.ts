import { readHandovers } from '../handover.ts';
import type { Installation } from '../installation.ts';
import type { LogLine } from '../log-lines.ts';
import { audited, expectShares, type Step, type StepContext } from '../step.ts';
import { expectSoon } from '../waiting.ts';

const NOTICE_LIMIT_MS = 60_000;

export const kill: Step = {
  name: 'kill',
  purpose: 'a worker and the leading coordinator, deleted by force',
  limitSeconds: 480,
  run: async (context) => {
    await audited(context, 'worker deleted by force', { mayMiss: true }, () => killWorker(context));
    await audited(context, 'leader deleted by force', { mayMiss: true }, () => killLeader(context));
  },
};

async function killWorker(context: StepContext): Promise<void> {
  const { app } = context;
  const [victim] = await app.servingPods('worker');
  if (victim === undefined) throw new Error('no worker serves');
  const deletion = await deleteByForce(app, victim);
  const ring = await expectSoon(app.cluster, `a ring without ${victim}`, NOTICE_LIMIT_MS, async () => {
    const lines = await app.ringLogs(deletion.atMs);
    const left = lines.find(({ msg, peer }) => msg === 'worker left' && peer === victim);
    const next = readHandovers(lines).find(({ publishedAtMs }) => left !== undefined && publishedAtMs >= left.atMs);
    return left === undefined || next?.appliedAtMs == null ? null : { ...next, evidence: String(left.evidence) };
  });
  context.tell('worker deleted by force: evidence', ring.evidence);
  tellDelay(context, 'worker deleted by force: ring published', deletion, ring.publishedAtMs);
  tellDelay(context, 'worker deleted by force: ring applied by all who gained', deletion, ring.appliedAtMs ?? 0);
  await expectShares(context, 'worker deleted by force: rows per worker', 3);
}

async function killLeader(context: StepContext): Promise<void> {
  const { app } = context;
  const victim = await expectSoon(app.cluster, 'a leader', NOTICE_LIMIT_MS, () => app.leader());
  const deletion = await deleteByForce(app, victim);
  const heard = await expectSoon(app.cluster, `another leader than ${victim}`, NOTICE_LIMIT_MS, async () => {
    const lines = await app.logs('coordinator', { sinceMs: deletion.atMs });
    const leading = lines.find((line) => isTakingOffice(line) && line.coordinator !== victim);
    const ring = readHandovers(lines).find(({ publishedAtMs }) => leading && publishedAtMs >= leading.atMs);
    return leading === undefined || ring === undefined ? null : { leadingAtMs: leading.atMs, ring };
  });
  tellDelay(context, 'leader deleted by force: a standby leads', deletion, heard.leadingAtMs);
  tellDelay(context, 'leader deleted by force: it has published its ring', deletion, heard.ring.publishedAtMs);
  const leader = await app.leader();
  context.expect({
    what: 'leader deleted by force: another leads',
    expected: `not ${victim}`,
    seen: leader ?? 'nobody',
    isOk: leader !== null && leader !== victim,
  });
  await expectShares(context, 'leader deleted by force: rows per worker', 3);
}

function isTakingOffice({ msg }: LogLine): boolean {
  return msg.startsWith('leading');
}

interface Deletion {
  /** When kubectl was started, by the nodes' clock. */
  readonly atMs: number;
  /** How long kubectl took: the deletion lies within. */
  readonly tookMs: number;
}

async function deleteByForce(app: Installation, pod: string): Promise<Deletion> {
  const atMs = await app.nowMs();
  await app.cluster.read(['delete', 'pod', pod, '--grace-period=0', '--force', '--wait=false']);
  return { atMs, tookMs: (await app.nowMs()) - atMs };
}

function tellDelay(context: StepContext, what: string, deletion: Deletion, thenMs: number): void {
  const afterMs = Math.round(thenMs - deletion.atMs);
  context.tell(what, `${afterMs} ms after kubectl delete was called (which took ${Math.round(deletion.tookMs)} ms)`);
}
