/** The application's process: runs the workload that it is sent, and ends with the process that forked it. */
import { setTimeout as delay } from 'node:timers/promises';
import type { PostgresLink } from '../../shared/postgres/connection.ts';
import { describeFailure, stateOf } from '../../shared/postgres/failure.ts';
import type { Session } from '../../shared/postgres/session.ts';
import { quoteTable } from '../../shared/postgres/table.ts';
import { randomNumbers } from '../../test/support/assignment-oracle.ts';
import { connect } from '../support/bench-postgres.ts';
import { sum } from '../support/statistics.ts';
import { NAMES } from '../ticks/measured-table.ts';
import type { Answer, ApplicationRun, Hold, Order } from './application-messages.ts';
import { type Client, holdRows, WORKLOADS, type Workload } from './workloads.ts';

interface ClientRun {
  readonly latenciesMs: number[];
  readonly killed: string[];
  elapsedMs: number;
}

process.on('message', (order: Order) => {
  obey(order).then(
    (run) => answer({ kind: 'done', run }),
    (error) => answer({ kind: 'failed', reason: describeFailure(error) }),
  );
});
process.once('disconnect', () => process.exit(0));
answer({ kind: 'ready' });

async function obey({ url, workload: key, seconds }: Order): Promise<ApplicationRun> {
  const workload = WORKLOADS.find((one) => one.key === key);
  if (workload === undefined) throw new Error(`expected a known workload, got ${key}`);
  const link = await connect(url, 'application');
  try {
    return await run(link, workload, seconds);
  } finally {
    await link.close();
  }
}

async function run(link: PostgresLink, workload: Workload, seconds: number): Promise<ApplicationRun> {
  const ids = await readIds(link);
  const clients = await Promise.all(
    Array.from({ length: workload.clients }, (_, index) => openClient(link, { workload, ids, seed: index + 1 })),
  );
  const endMs = performance.now() + seconds * 1000;
  const locking = workload.isRowLocked ? lockRow(link, ids.slice(0, 1), seconds * 1000) : [];
  const runs = await Promise.all(clients.map((client) => runClient(link, client, { workload, endMs })));
  const held = await locking;
  const killed: Record<string, number> = {};
  for (const state of runs.flatMap((one) => one.killed)) killed[state] = (killed[state] ?? 0) + 1;
  const latenciesMs = runs.flatMap((one) => one.latenciesMs);
  return {
    // By client: a client that is stuck in its last transaction shortens no other's time.
    throughput: sum(runs.map((one) => (one.latenciesMs.length * 1000) / one.elapsedMs)),
    transactions: latenciesMs.length,
    latenciesMs,
    killed,
    holds: [...clients.flatMap((client) => client.holds), ...held],
  };
}

/** The same seed chooses the same rows, so the runs without and with Notifi-Scaler do the same work. */
async function openClient(
  link: PostgresLink,
  { workload, ids, seed }: { readonly workload: Workload; readonly ids: readonly string[]; readonly seed: number },
): Promise<Client> {
  const session = await openSession(link);
  const free = workload.isRowLocked ? ids.slice(1) : ids;
  return { session, ids: free, random: randomNumbers(seed), clockOffsetMs: await readClockOffset(session), holds: [] };
}

async function runClient(
  link: PostgresLink,
  client: Client,
  { workload, endMs }: { readonly workload: Workload; readonly endMs: number },
): Promise<ClientRun> {
  const done: ClientRun = { latenciesMs: [], killed: [], elapsedMs: 0 };
  const beganMs = performance.now();
  for (let nowMs = beganMs; nowMs < endMs; nowMs = performance.now()) {
    try {
      await workload.transact(client);
      done.latenciesMs.push(performance.now() - nowMs);
    } catch (error) {
      done.killed.push(stateOf(error) ?? 'connection lost');
      if (client.session.isOver) client.session = await openSession(link);
      else await client.session.query({ text: 'ROLLBACK' });
    }
    await delay(workload.pauseMs);
  }
  done.elapsedMs = performance.now() - beganMs;
  await client.session.end();
  return done;
}

/** Keeps one row locked for the whole run, as a transaction does that somebody forgot to end. */
async function lockRow(link: PostgresLink, ids: readonly string[], forMs: number): Promise<Hold[]> {
  const session = await openSession(link);
  const client = { session, holds: [] as Hold[], clockOffsetMs: await readClockOffset(session) };
  await session.query({ text: 'BEGIN' });
  await session.query({ text: `SELECT FROM ${quoteTable(NAMES)} WHERE id = $1 FOR UPDATE`, values: ids });
  await holdRows(client, ids, forMs);
  await session.query({ text: 'COMMIT' });
  await session.end();
  return client.holds;
}

/** Locks may be kept for as long as an option says: the server must not end an idle transaction before. */
async function openSession(link: PostgresLink): Promise<Session> {
  const session = await link.open({ statementTimeoutMs: 0 });
  await session.query({ text: 'SET idle_in_transaction_session_timeout = 0' });
  return session;
}

async function readClockOffset(session: Session): Promise<number> {
  const sentMs = Date.now();
  const text = 'SELECT (extract(epoch FROM clock_timestamp()) * 1000)::float8 AS "serverMs"';
  const { rows } = await session.query<{ serverMs: number }>({ text });
  return (rows[0]?.serverMs ?? Number.NaN) - (sentMs + Date.now()) / 2;
}

async function readIds(link: PostgresLink): Promise<string[]> {
  const text = `SELECT id::text AS id FROM ${quoteTable(NAMES)} ORDER BY id`;
  return (await link.query<{ id: string }>('ids', { text })).rows.map(({ id }) => id);
}

function answer(message: Answer): void {
  process.send?.(message);
}
