import type { ChildProcess } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { openDataDirectory } from '../../services/local/data-directory.ts';
import { type Servers, startServers } from '../../services/local/servers.ts';
import { connectNats, type NatsLink } from '../../shared/nats/connection.ts';
import { adoptTable } from '../../shared/postgres/adoption.ts';
import { addRows } from '../../shared/postgres/rows.ts';
import { quoteTable } from '../../shared/postgres/table.ts';
import { assign } from '../../shared/ring/assignment.ts';
import { encodeSnapshot, makeSnapshot } from '../../shared/ring/snapshot.ts';
import { connect as connectToPostgres, SILENT } from '../support/bench-postgres.ts';
import { forkScript, stopForked } from '../support/forked-process.ts';
import { readLocalOptions } from './fleet.ts';
import { ALIVE_SUBJECT, DONE_SUBJECT, type FloorSetup, TABLE, TOLD_SUBJECT } from './floor-setup.ts';

const SCRIPT = join(import.meta.dirname, 'floor-process.ts');
const SLOTS = 4_096;
const PHASES_MS = 800;
const PAUSE_MS = 700;
const DONE_LIMIT_MS = 30_000;
/** Each takes most of a second of processor time to start. */
const STARTED_AT_ONCE = 4;

/**
 * What the contract takes of this machine by itself: as many processes as there are workers, doing what every worker must
 * (a fenced tick, two renewals, a log line each second; at a change the ring checked whole, one claim) and nothing else: no
 * detection, plan, first tick or report, and no coordinator. @returns ms, from the ring's publish to the last claim, by repetition.
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
    await makeTable(postgres.url, rows);
    const link = await connectNats({ servers: [nats.url], name: 'bench', prefix: '' }, { log: SILENT });
    const manager = await link.connection.jetstreamManager();
    await manager.streams.add({ name: 'FLOOR', subjects: [`${ALIVE_SUBJECT}.*`], max_msgs_per_subject: 1 });
    for (let index = 0; index < workers && !signal.aborted; index += STARTED_AT_ONCE) {
      const some = Array.from({ length: Math.min(STARTED_AT_ONCE, workers - index) }, (_, offset) =>
        makeSetup(index + offset, { workers, rows, natsUrl: nats.url, databaseUrl: postgres.url }),
      );
      children.push(...(await Promise.all(some.map((setup) => forkScript(SCRIPT, setup, { isSilent: true })))));
    }
    const ring = makeRing(workers);
    await tellAll(link, { workers, ring });
    const measuredMs: number[] = [];
    for (let round = 0; round < repeat && !signal.aborted; round += 1) {
      // Somewhere in the second: the rounds of each second go on meanwhile.
      await delay(PAUSE_MS + (round / repeat) * 1_000);
      measuredMs.push(await tellAll(link, { workers, ring }));
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

async function makeTable(databaseUrl: string, rows: number): Promise<void> {
  const link = await connectToPostgres(databaseUrl, 'bench');
  await adoptTable(link, { names: TABLE, slots: SLOTS, log: SILENT });
  await addRows(link, TABLE, rows);
  await link.query('bench', { text: `ANALYZE scaler.slot, ${quoteTable(TABLE)}` });
  await link.close();
}

function makeSetup(
  index: number,
  around: {
    readonly workers: number;
    readonly rows: number;
    readonly natsUrl: string;
    readonly databaseUrl: string;
  },
): FloorSetup {
  const { workers, rows, natsUrl, databaseUrl } = around;
  // Of a leaver's slots each of the others gets its part; whose they are does not matter, only that no two want the same.
  const each = Math.max(1, Math.round(SLOTS / workers / (workers - 1)));
  const gained = Array.from({ length: each }, (_, at) => index * each + at);
  const ids = Array.from({ length: Math.round(rows / workers) }, () => randomUUID());
  const phaseMs = Math.round((index / workers) * PHASES_MS);
  return { natsUrl, databaseUrl, worker: idOf(index), ring: SLOTS, gained, ids, phaseMs };
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
  { workers, ring }: { readonly workers: number; readonly ring: Uint8Array },
): Promise<number> {
  let done = 0;
  let resolveAll = () => {};
  const all = new Promise<void>((resolve) => {
    resolveAll = resolve;
  });
  const subscription = connection.subscribe(DONE_SUBJECT, {
    callback: () => {
      done += 1;
      if (done === workers) resolveAll();
    },
  });
  await connection.flush();
  const startedMs = performance.now();
  connection.publish(TOLD_SUBJECT, ring);
  const limit = delay(DONE_LIMIT_MS, undefined, { ref: false }).then(() => {
    throw new Error(`expected ${workers} bare processes to answer within ${DONE_LIMIT_MS} ms, ${done} did`);
  });
  await Promise.race([all, limit]);
  subscription.unsubscribe();
  return performance.now() - startedMs;
}
