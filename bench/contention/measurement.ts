import { setTimeout as delay } from 'node:timers/promises';
import { AuditLog } from '../../services/cli/audit-log.ts';
import { isUneven } from '../../shared/ring/assignment.ts';
import type { TableAuditor } from '../../test/support/table-auditor.ts';
import { describeUnrest } from '../soak/rest.ts';
import { type Applications, runBoth, type TwinRuns } from './application.ts';
import type { ContentionFleet } from './fleet.ts';
import { countMissed, type MissedTicks } from './missed-ticks.ts';
import type { WorkloadResult } from './verdicts.ts';
import type { Workload } from './workloads.ts';

/** Everything that is needed to measure a workload with Notifi-Scaler on the table. */
export interface Stage {
  readonly applications: Applications;
  readonly fleet: ContentionFleet;
  readonly auditor: TableAuditor;
}

export interface MeasuredRun extends MissedTicks, Pick<WorkloadResult, 'evictions' | 'longestClaimMs' | 'unrest'> {
  readonly runs: TwinRuns;
}

const REST_LIMIT_MS = 60_000;
const REST_POLL_MS = 250;
/** Shares of the run after which a worker joins and another one leaves. */
const JOIN_AT = 0.2;
const LEAVE_AT = 0.6;

/**
 * Runs one workload while a worker joins and another leaves, audited from outside until the table is at rest again.
 * @throws {Error} if the table is not at rest before.
 */
export async function measureWorkload(stage: Stage, workload: Workload, seconds: number): Promise<MeasuredRun> {
  const { applications, fleet } = stage;
  const unrestBefore = await awaitRest(stage);
  if (unrestBefore !== null) throw new Error(`not at rest before ${workload.key}: ${unrestBefore}`);
  const evictionsBefore = await fleet.evictions();
  const claimsBefore = fleet.claimsMs.length;
  const endAudit = await beginAudit(stage);
  const changing = changeWorkers(stage, workload, seconds);
  const runs = await runBoth(applications, workload.key, seconds);
  await changing;
  const unrest = await awaitRest(stage);
  const findings = await endAudit();
  const claimsMs = fleet.claimsMs.slice(claimsBefore);
  return {
    runs,
    ...countMissed(findings, runs.adopted.holds),
    evictions: (await fleet.evictions()) - evictionsBefore,
    longestClaimMs: claimsMs.length === 0 ? null : Math.max(...claimsMs),
    unrest,
  };
}

/** Resolves after the first sample, to what ends the audit. */
async function beginAudit({ auditor }: Stage) {
  const end = new AbortController();
  const log = new AuditLog(isUneven);
  let watched: Promise<unknown> = Promise.resolve();
  await new Promise<void>((resolve, reject) => {
    watched = auditor.watch(end.signal, () => resolve(), log);
    watched.catch(reject);
  });
  return async () => {
    end.abort();
    await watched;
    return log.findings();
  };
}

async function changeWorkers(stage: Stage, workload: Workload, seconds: number): Promise<void> {
  const { fleet } = stage;
  await delay(seconds * 1000 * JOIN_AT);
  await fleet.join();
  await delay(seconds * 1000 * (LEAVE_AT - JOIN_AT));
  const owner = workload.isRowLocked ? await findLockedRowsOwner(stage) : null;
  const [oldest] = fleet.workerIds;
  const leaver = owner !== null && fleet.workerIds.includes(owner) ? owner : oldest;
  if (leaver !== undefined) fleet.leave(leaver);
}

/** The hardest leave: its successor claims the very slot whose row is locked. The application locks the smallest id. */
async function findLockedRowsOwner({ auditor }: Stage): Promise<string | null> {
  const rows = (await auditor.look())?.rows ?? [];
  return rows.length === 0 ? null : rows.reduce((least, row) => (row.id < least.id ? row : least)).owner;
}

/** @returns why the table is not at rest after a minute; null: it is. */
async function awaitRest({ auditor, fleet }: Stage): Promise<string | null> {
  const endMs = performance.now() + REST_LIMIT_MS;
  let unrest: string | null = 'the table could not be read';
  while (performance.now() < endMs) {
    const sample = await auditor.look();
    if (sample !== null) unrest = describeUnrest(sample, fleet.workerIds);
    if (unrest === null) return null;
    await delay(REST_POLL_MS);
  }
  return `not within ${REST_LIMIT_MS / 1000} s: ${unrest}`;
}
