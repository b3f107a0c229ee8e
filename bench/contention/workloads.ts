/**
 * What applications do to their table, as transactions of a client. None of them touches the columns of the ticks.
 *
 * Clients pause between transactions, so that the machine is not saturated: the figures then show waiting for locks, and not
 * which process gets the processor.
 */
import { setTimeout as delay } from 'node:timers/promises';
import type { Session } from '../../shared/postgres/session.ts';
import { quoteTable } from '../../shared/postgres/table.ts';
import { NAMES } from '../ticks/measured-table.ts';
import type { Hold } from './application-messages.ts';

export interface Client {
  /** Replaced when it is lost. */
  session: Session;
  readonly ids: readonly string[];
  readonly random: () => number;
  /** The database's clock less this process's wall clock. */
  readonly clockOffsetMs: number;
  readonly holds: Hold[];
}

export interface Workload {
  readonly key: string;
  readonly title: string;
  readonly clients: number;
  /** One row is locked by one transaction throughout; the clients leave that row alone. */
  readonly isRowLocked: boolean;
  readonly pauseMs: number;
  /** One transaction. A rejection leaves it open. */
  transact(client: Client): Promise<void>;
}

const TABLE = quoteTable(NAMES);
const CLIENTS = 4;
const SHORT_PAUSE_MS = 5;
const JOB_MS = 200;
/** Between two polls of an empty queue. */
const POLL_MS = 5;
/** Twice in a transaction, which so takes 30 ms. */
const TWO_ROWS_HOLD_MS = 15;
const BULK_SHARE = 1 / 3;
const BULK_STATEMENTS = 10;
/** After each statement: 100 ms in all. */
const BULK_HOLD_MS = 10;
const BULK_PAUSE_MS = 400;
const SECOND_MS = 1_000;

export const WORKLOADS: readonly Workload[] = [
  {
    key: 'locked-row',
    title: 'one row locked throughout, single-row updates of others',
    clients: CLIENTS,
    isRowLocked: true,
    pauseMs: SHORT_PAUSE_MS,
    transact: updateOneRow,
  },
  {
    key: 'job-queue',
    title: 'jobs of 200 ms taken by FOR UPDATE SKIP LOCKED',
    clients: CLIENTS,
    isRowLocked: false,
    pauseMs: 0,
    transact: takeJob,
  },
  {
    key: 'two-rows',
    title: 'transactions of two rows in id order, 30 ms',
    clients: CLIENTS,
    isRowLocked: false,
    pauseMs: 0,
    transact: updateTwoRows,
  },
  {
    key: 'bulk',
    title: 'a third of the rows in one transaction of ten statements, 100 ms, twice a second',
    clients: 1,
    isRowLocked: false,
    pauseMs: BULK_PAUSE_MS,
    transact: updateMany,
  },
  {
    key: 'single-rows',
    title: 'single-row updates',
    clients: CLIENTS,
    isRowLocked: false,
    pauseMs: SHORT_PAUSE_MS,
    transact: updateOneRow,
  },
];

/** Keeps the locks that the transaction has, on purpose. Notes holds that may cover a whole second. */
export async function holdRows(
  { holds, clockOffsetMs }: Pick<Client, 'holds' | 'clockOffsetMs'>,
  ids: readonly string[],
  forMs: number,
): Promise<void> {
  const fromMs = Date.now() + clockOffsetMs;
  await delay(forMs);
  const toMs = Date.now() + clockOffsetMs;
  if (toMs - fromMs >= SECOND_MS) holds.push({ ids, fromMs, toMs });
}

async function updateOneRow(client: Client): Promise<void> {
  await touch(client, pick(client));
}

async function takeJob(client: Client): Promise<void> {
  const take = {
    name: 'take-job',
    text: `SELECT id::text AS id FROM ${TABLE} ORDER BY jobs_done LIMIT 1 FOR UPDATE SKIP LOCKED`,
  };
  for (;;) {
    await client.session.query({ text: 'BEGIN' });
    const [job] = (await client.session.query<{ id: string }>(take)).rows;
    if (job !== undefined) {
      await holdRows(client, [job.id], JOB_MS);
      const text = `UPDATE ${TABLE} SET jobs_done = jobs_done + 1 WHERE id = $1`;
      await client.session.query({ name: 'finish-job', text, values: [job.id] });
    }
    await client.session.query({ text: 'COMMIT' });
    if (job !== undefined) return;
    await delay(POLL_MS);
  }
}

/** In the order of their ids, so the application's own transactions cannot deadlock. */
async function updateTwoRows(client: Client): Promise<void> {
  const first = pick(client);
  let second = pick(client);
  while (second === first) second = pick(client);
  await client.session.query({ text: 'BEGIN' });
  const locked: string[] = [];
  for (const id of [first, second].sort()) {
    await touch(client, id);
    locked.push(id);
    await holdRows(client, [...locked], TWO_ROWS_HOLD_MS);
  }
  await client.session.query({ text: 'COMMIT' });
}

/** In the order of their ids, batch by batch: the transaction has more and more of its locks while the ticks go on. */
async function updateMany(client: Client): Promise<void> {
  const { ids, random, session } = client;
  const count = Math.ceil(ids.length * BULK_SHARE);
  const from = Math.floor(random() * (ids.length - count + 1));
  const batch = Math.ceil(count / BULK_STATEMENTS);
  await session.query({ text: 'BEGIN' });
  for (let done = 0; done < count; done += batch) {
    const text = `UPDATE ${TABLE} SET payload = payload + 1 WHERE id = ANY ($1::uuid[])`;
    const values = [ids.slice(from + done, from + Math.min(done + batch, count))];
    await session.query({ name: 'update-many', text, values });
    await holdRows(client, ids.slice(from, from + done + batch), BULK_HOLD_MS);
  }
  await session.query({ text: 'COMMIT' });
}

async function touch({ session }: Client, id: string): Promise<void> {
  const text = `UPDATE ${TABLE} SET payload = payload + 1 WHERE id = $1`;
  await session.query({ name: 'touch', text, values: [id] });
}

function pick({ ids, random }: Client): string {
  return ids[Math.floor(random() * ids.length)]!;
}
