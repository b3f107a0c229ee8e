import type { ChildProcess } from 'node:child_process';
import { setTimeout as delay } from 'node:timers/promises';
import { openDataDirectory } from '../../services/local/data-directory.ts';
import { type Servers, startServers } from '../../services/local/servers.ts';
import { connectNats, type NatsLink } from '../../shared/nats/connection.ts';
import { adoptTable } from '../../shared/postgres/adoption.ts';
import { addRows } from '../../shared/postgres/rows.ts';
import { parseTableNames, quoteTable, type TableNames } from '../../shared/postgres/table.ts';
import { assign } from '../../shared/ring/assignment.ts';
import { encodeSnapshot, makeSnapshot } from '../../shared/ring/snapshot.ts';
import { connect as connectToPostgres, SILENT } from '../support/bench-postgres.ts';
import { compiled } from '../support/compiled-services.ts';
import { forkScript, stopForked } from '../support/forked-process.ts';
import { readLocalOptions } from './fleet.ts';
import { ALIVE_SUBJECT, DONE_SUBJECT, type FloorSetup, TOLD_SUBJECT } from './floor-setup.ts';

const SLOTS = 4_096;
const PHASES_MS = 800;
const PAUSE_MS = 700;
const DONE_LIMIT_MS = 30_000;
/** Each takes most of a second of processor time to start. */
const STARTED_AT_ONCE = 4;

/**
 * What a worker's own work takes of this machine when one of them leaves: as many bare processes as there are others, doing what
 * each must (a fenced tick, two renewals, a log line each second; at a change the ring checked whole, one claim) and nothing
 * else: no detection, plan, first tick or report, and no coordinator. @returns ms, from the ring's publish to the last claim, by
 * repetition.
 */
export async function measureFloor(
  { workers, rows, repeat }: { readonly workers: number; readonly rows: number; readonly repeat: number },
  signal: AbortSignal,
): Promise<number[]> {
  const servers: Servers = { nats: null, postgres: null };
  const data = await openDataDirectory(undefined);
  const children: ChildProcess[] = [];
  try {
    const options = readLocalOptions({ workers, coordinators: 1, rows });
    const { nats, postgres } = await startServers(servers, { options, data, log: SILENT });
    const table = parseTableNames(options);
    await makeTable(postgres.url, { table, rows });
    const link = await connectNats({ servers: [nats.url], name: 'bench', prefix: '' }, { log: SILENT });
    const manager = await link.connection.jetstreamManager();
    await manager.streams.add({ name: 'FLOOR', subjects: [`${ALIVE_SUBJECT}.*`], max_msgs_per_subject: 1 });
    const script = await compiled('bench/recovery/floor-process.js');
    const others = workers - 1;
    for (let index = 0; index < others && !signal.aborted; index += STARTED_AT_ONCE) {
      const some = Array.from({ length: Math.min(STARTED_AT_ONCE, others - index) }, (_, offset) =>
        makeSetup(index + offset, { others, table, rows, natsUrl: nats.url, databaseUrl: postgres.url }),
      );
      children.push(...(await Promise.all(some.map((setup) => forkScript(script, setup, { isSilent: true })))));
    }
    const ring = makeRing(workers);
    await tellAll(link, { others, ring });
    const measuredMs: number[] = [];
    for (let round = 0; round < repeat && !signal.aborted; round += 1) {
      // Somewhere in the second: the rounds of each second go on meanwhile.
      await delay(PAUSE_MS + (round / repeat) * 1_000);
      measuredMs.push(await tellAll(link, { others, ring }));
    }
    await link.drain();
    return measuredMs;
  } finally {
    await Promise.all(children.map(stopForked));
    await servers.postgres?.stop();
    await servers.nats?.stop();
    data.remove();
  }
}

async function makeTable(
  databaseUrl: string,
  { table, rows }: { readonly table: TableNames; readonly rows: number },
): Promise<void> {
  const link = await connectToPostgres(databaseUrl, 'bench');
  await adoptTable(link, { names: table, slots: SLOTS, log: SILENT });
  await addRows(link, table, rows);
  // The processes claim in the first epoch; Postgres refuses one that it has not issued.
  await link.query('bench', { text: 'SELECT scaler.draw_epoch(0)' });
  await link.query('bench', { text: `ANALYZE scaler.slot, ${quoteTable(table)}` });
  await link.close();
}

function makeSetup(
  index: number,
  around: Pick<FloorSetup, 'others' | 'table' | 'natsUrl' | 'databaseUrl'> & { readonly rows: number },
): FloorSetup {
  const { others } = around;
  return {
    ...around,
    worker: idOf(index),
    leaver: idOf(others),
    index,
    slots: SLOTS,
    rows: Math.round(around.rows / others),
    phaseMs: Math.round((index / others) * PHASES_MS),
  };
}

/** Of the size that such a fleet's snapshots have. */
function makeRing(count: number): Uint8Array {
  const weights = new Int32Array(SLOTS).fill(1);
  const workers = Array.from({ length: count }, (_, index) => idOf(index));
  const snapshot = makeSnapshot({
    order: { epoch: 1, version: 1 },
    at: new Date().toISOString(),
    cause: { kind: 'bootstrap' },
    assignment: assign({ weights, workers, previous: null }),
    weights,
    moved: { slots: 0, rows: 0, minimumRows: 0 },
  });
  return encodeSnapshot(snapshot);
}

function idOf(index: number): string {
  return `floor-${index}`;
}

/** From the message to the last answer. */
async function tellAll(
  { connection }: NatsLink,
  { others, ring }: { readonly others: number; readonly ring: Uint8Array },
): Promise<number> {
  let done = 0;
  let resolveAll = () => {};
  const all = new Promise<void>((resolve) => {
    resolveAll = resolve;
  });
  const subscription = connection.subscribe(DONE_SUBJECT, {
    callback: () => {
      done += 1;
      if (done === others) resolveAll();
    },
  });
  await connection.flush();
  const startedMs = performance.now();
  connection.publish(TOLD_SUBJECT, ring);
  const limit = delay(DONE_LIMIT_MS, undefined, { ref: false }).then(() => {
    throw new Error(`expected ${others} bare processes to answer within ${DONE_LIMIT_MS} ms, ${done} did`);
  });
  await Promise.race([all, limit]);
  subscription.unsubscribe();
  return performance.now() - startedMs;
}
