import { pino } from 'pino';
import {
  findLiving,
  type LivingProcess,
  removeStreams,
  type StreamRemoval,
} from '../../../shared/nats/installation.ts';
import { adoptTable, planAdoption } from '../../../shared/postgres/adoption.ts';
import type { RecordedStatement } from '../../../shared/postgres/recording-session.ts';
import { type Release, releaseTable } from '../../../shared/postgres/release.ts';
import type { SettingChange } from '../../../shared/postgres/storage-settings.ts';
import { describeTable } from '../../../shared/postgres/table.ts';
import type { TableWarning } from '../../../shared/postgres/table-obstacles.ts';
import { type CommandContext, CommandError } from '../context.ts';

interface AdoptCall {
  readonly slots: number;
  readonly keepsStorageSettings: boolean;
  readonly isDryRun: boolean;
  readonly signal: AbortSignal;
}

/** Adopts the table as a coordinator's start does, or prints the statements, their locks and what should be known before. */
export async function adopt(context: CommandContext, { isDryRun, ...call }: AdoptCall): Promise<number> {
  const { postgres, table } = await context.table();
  const log = progressLog(context);
  const request = { ...call, names: table, log };
  const name = describeTable(table);
  if (!isDryRun) {
    const { slots } = await adoptTable(postgres, request);
    context.output.result({ table: name, slots, isAdopted: true }, () => `${name} is adopted, with ${slots} slots`);
    return 0;
  }
  const plan = await planAdoption(postgres, { ...request, log: pino({ level: 'silent' }) });
  const { slots, statements, settings, warnings, isTableThere } = plan;
  const result = { table: name, slots, isDryRun, isTableThere, statements, settings, warnings };
  context.output.result(result, () =>
    [
      statements.length === 0
        ? `-- ${name} is adopted, with ${slots} slots: nothing would be done`
        : `-- ${name} would be ${isTableThere ? 'adopted' : 'created and adopted'}, with ${slots} slots; nothing was changed`,
      ...warnings.map((warning) => `-- warning: ${describeWarning(warning)}`),
      ...settings.map((change) => `-- storage setting: ${describeChange(change)}`),
      ...statements.map(formatStatement),
    ].join('\n'),
  );
  return 0;
}

interface ReleaseCall {
  readonly isDryRun: boolean;
  /** NATS is left alone, where its server is gone for good. */
  readonly isWithoutNats: boolean;
  readonly signal: AbortSignal;
}

/** Removes what the installation made in Postgres and in NATS. Refuses while services run; a dry run says so, with exit code 1. */
export async function release(context: CommandContext, call: ReleaseCall): Promise<number> {
  const { isDryRun, isWithoutNats, signal } = call;
  const { postgres, table } = await context.table();
  const link = isWithoutNats ? null : await context.nats();
  const living = link === null ? [] : await findLiving(link);
  const running = living.length === 0 ? null : describeLiving(living);
  if (running !== null && !isDryRun) throw new CommandError(running);
  const log = progressLog(context);
  // Services that are cut off from NATS are found by their connections to Postgres.
  const released = await releaseTable(postgres, { names: table, isDryRun, log, signal });
  const streams = link === null ? { removed: [], left: [] } : await removeStreams(link, { isDryRun });
  const name = describeTable(table);
  const refusal = running ?? released.refusal;
  const result = { table: name, isDryRun, ...released, streams, refusal };
  context.output.result(result, () => describeRelease(name, { isDryRun, released, streams, refusal }));
  return refusal === null ? 0 : 1;
}

/** A wait is told to the person who asked. */
function progressLog({ output }: CommandContext) {
  const write = (line: string) => {
    const { level: _level, time: _time, pid: _pid, hostname: _hostname, msg, ...fields } = JSON.parse(line);
    const details = Object.entries(fields).map(([key, value]) => `${key}: ${String(value)}`);
    output.progress([msg, ...details].join('; '));
  };
  return pino({ level: 'info' }, { write });
}

function describeLiving(living: readonly LivingProcess[]): string {
  const processes = living.map(
    ({ role, id, evidence }) => `${id === '' ? 'the leader' : `${role} ${id}`} (${evidence})`,
  );
  return `expected no running service, got ${processes.join(', ')}; stop all workers and coordinators, and try again`;
}

function describeRelease(
  name: string,
  what: {
    readonly isDryRun: boolean;
    readonly released: Release;
    readonly streams: StreamRemoval;
    readonly refusal: string | null;
  },
): string {
  const { isDryRun, released, streams, refusal } = what;
  const { statements, settings, isFormerKnown } = released;
  const isNothing = statements.length === 0 && streams.removed.length === 0;
  const did = isDryRun ? 'would be' : 'was';
  const unknown = isFormerKnown
    ? []
    : ['-- the former storage settings are unknown: an earlier version adopted the table; ours are reset to defaults'];
  return [
    isNothing
      ? `-- nothing of Notifi-Scaler is left for ${name}`
      : `-- ${name} ${did} released; its rows stay as they are${isDryRun ? '; nothing was changed' : ''}`,
    ...(refusal === null ? [] : [`-- it would be refused now: ${refusal}`]),
    ...unknown,
    ...settings.map((change) => `-- storage setting: ${describeChange(change)}`),
    ...(statements.length === 0 ? [] : ['BEGIN;', ...statements.map(formatStatement), 'COMMIT;']),
    ...streams.removed.map((stream) => `-- NATS: ${stream} ${did} deleted`),
    ...streams.left.map((reason) => `-- NATS: left alone: ${reason}`),
  ].join('\n');
}

function describeChange({ setting, from, to }: SettingChange): string {
  return `${setting} ${from ?? "Postgres' default"} → ${to ?? "Postgres' default"}`;
}

function describeWarning({ message, fields }: TableWarning): string {
  const details = Object.entries(fields).map(([key, value]) => `${key} ${value}`);
  return `${message} (${details.join(', ')})`;
}

function formatStatement({ sql, lock }: RecordedStatement): string {
  return lock === null ? `${sql};` : `-- locks the table: ${lock}\n${sql};`;
}
