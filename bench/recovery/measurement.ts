import { setTimeout as delay } from 'node:timers/promises';
import { AuditLog } from '../../services/cli/audit-log.ts';
import { isUneven } from '../../shared/ring/assignment.ts';
import { PHASES, type Phases } from '../../shared/ring/recovery.ts';
import type { RecoveryEvent, Strike } from './events.ts';
import { FenceWatch } from './fence-watch.ts';
import type { Fleet, FleetLine } from './fleet.ts';
import { type Handover, measureHandover } from './handover.ts';

/** One repetition of one event. */
export interface Measurement {
  /** From the fault, by this process's clock: the last claim seen in Postgres, or the snapshot heard where nothing moves. */
  readonly handoverMs: number;
  /** From the fault to the last first tick seen; null: nothing moved. */
  readonly firstTickMs: number | null;
  /** As the leader summed it up; null: it has not. */
  readonly phases: Phases | null;
  readonly isComplete: boolean;
  readonly slots: number;
  /** By the audit, from outside. */
  readonly missed: number;
  /** As the workers told the leader, who counts only what is certain; null: it has not summed up. */
  readonly missedTold: number | null;
  /** Of the row that missed most. */
  readonly missedPerRow: number;
  readonly double: number;
  /** Rings until all was claimed; what they moved together, and at least had to. */
  readonly rings: number;
  readonly movedRows: number;
  readonly minimumRows: number;
  /** Between two looks at the fence. */
  readonly gapsMs: readonly number[];
}

const BREATH_MS = 250;
const HANDOVER_LIMIT_MS = 30_000;
/** A recovery is summed up at the latest five seconds after its publish. */
const SUMMARY_LIMIT_MS = 8_000;

/** Strikes once, waits until all is claimed and ticked again, and mends the fleet. It must be settled before, and is after. */
export async function measureOnce(fleet: Fleet, event: RecoveryEvent, victim: string): Promise<Measurement> {
  const { newest } = fleet;
  if (newest === null) throw new Error('expected a fleet that has settled, got one without a ring');
  const audit = new AuditLog(isUneven);
  audit.add(await fleet.inspection.sampleRows());
  const fromSnapshot = fleet.snapshots.length;
  const heard = () => fleet.snapshots.slice(fromSnapshot).map(({ snapshot }) => snapshot);
  const watch = await FenceWatch.start(fleet.postgres, { table: fleet.table, after: newest, heard });
  const { strike, summary, answered, handover } = await strikeUnder(watch, {
    fleet,
    event,
    victim,
    fromSnapshot,
  }).finally(() => watch.stop());
  const rings = heard().map(({ moved }) => moved);
  await event.aftermath?.(fleet, victim, strike);
  audit.add(await fleet.inspection.sampleRows());
  const { missed, double, worst } = audit.result();
  await event.mend(fleet, victim);
  return {
    handoverMs: handover?.claimedMs ?? answered.atMs - strike.atMs,
    firstTickMs: handover?.firstTickMs ?? null,
    phases: summary === null ? null : readPhases(summary),
    isComplete: summary?.fields.isComplete === true,
    slots: handover?.slots ?? 0,
    missed,
    missedTold: summary === null ? null : Number(summary.fields.missed),
    missedPerRow: Math.max(0, ...worst.map((row) => row.missed)),
    double,
    rings: rings.length,
    movedRows: rings.reduce((sum, { rows }) => sum + rows, 0),
    minimumRows: rings.reduce((sum, { minimumRows }) => sum + minimumRows, 0),
    gapsMs: watch.gapsMs,
  };
}

async function strikeUnder(
  watch: FenceWatch,
  around: {
    readonly fleet: Fleet;
    readonly event: RecoveryEvent;
    readonly victim: string;
    readonly fromSnapshot: number;
  },
) {
  const { fleet, event, victim, fromSnapshot } = around;
  const fromLine = fleet.lines.length;
  // To read every row took the processor from the workers: what they had to put off is not the fault's.
  await delay(BREATH_MS);
  const strike = await event.strike(fleet, victim);
  // Cheap to wait for: whatever looks at more than this would take the processor from those that are measured.
  const summary = await awaitSummary(fleet, event, fromLine);
  const answered = await fleet.until('the snapshot', () => findSnapshot(fleet, event, fromSnapshot), HANDOVER_LIMIT_MS);
  const handover = event.movesSlots ? await awaitHandover(fleet, watch, strike, event) : null;
  return { strike, summary, answered, handover };
}

/** Until all that moves is claimed and ticked; where it is not known beforehand what moves, until the ring has settled. */
async function awaitHandover(fleet: Fleet, watch: FenceWatch, strike: Strike, event: RecoveryEvent): Promise<Handover> {
  if (strike.gone === null) {
    await fleet.settle(event.key === 'join' ? [...fleet.workerIds, fleet.spareId] : fleet.workerIds);
  }
  const filled = new Set(await fleet.filledSlots());
  const look = () => {
    const handover = measureHandover(watch, strike, (slot) => filled.has(slot));
    return handover === null || handover.firstTickMs === null ? null : handover;
  };
  return fleet.until('the handover', look, HANDOVER_LIMIT_MS);
}

function findSnapshot(fleet: Fleet, event: RecoveryEvent, from: number) {
  return fleet.snapshots.slice(from).find(({ snapshot }) => snapshot.cause.kind === event.cause) ?? null;
}

async function awaitSummary(fleet: Fleet, event: RecoveryEvent, from: number): Promise<FleetLine | null> {
  const look = () =>
    fleet.lines
      .slice(from)
      .find(({ msg, fields }) => msg === 'recovered' && String(fields.cause).startsWith(event.cause)) ?? null;
  return fleet.until('the recovery', look, SUMMARY_LIMIT_MS).catch(() => null);
}

function readPhases({ fields }: FleetLine): Phases {
  const phases = fields.phases as Phases;
  return Object.fromEntries(PHASES.map((phase) => [phase, phases[phase]])) as unknown as Phases;
}

/** Somewhere in the second, in the probes' and in the heartbeats' period: else all repetitions would strike at the same point. */
export async function pauseAtRandom(random: () => number): Promise<void> {
  await delay(random() * 1_000);
}
