import type { ChildProcess } from 'node:child_process';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { cpuMsOfTree } from '../support/cpu.ts';
import { forkScript, nextMessage, stopForked } from '../support/forked-process.ts';
import { formatNumber } from '../support/markdown.ts';
import { median, type Summary, summarize } from '../support/statistics.ts';
import { CONCURRENT_SIDES, type ComparedTables, type ConcurrentSide } from './compared-tables.ts';
import type { InsertOrder } from './insert-clients.ts';
import { PollingLeader } from './polling-leader.ts';

/** What single inserts by many clients come to while a leader polls for them, and how soon it finds one. */
export interface ConcurrentOutcome {
  readonly writings: readonly WritingOutcome[];
  /** From an insert's acknowledgement until it is counted, ms. */
  readonly idleDelay: Summary | null;
  readonly busyDelay: Summary | null;
  /** Of a leader that finds nothing: polls a second, and the shares of one core that they take. */
  readonly idle: { readonly polls: number; readonly postgres: number | null; readonly leader: number };
}

/** How clients write: each its own transactions, one after the other. */
interface Writing {
  readonly name: string;
  readonly clients: number;
  /** Of each insert. */
  readonly rows?: number;
  readonly isPrepared?: boolean;
}

export interface WritingOutcome extends Writing {
  /** Transactions a second; medians. */
  readonly rates: Rates;
  /** Of the rate without triggers; medians of the repetitions' own ratios. */
  readonly shares: Rates;
}

/** Null: not to be had. A transaction that notifies cannot be prepared. */
type Rates = Readonly<Record<ConcurrentSide, number | null>>;

const MOST_CLIENTS = 32;
const WRITINGS: readonly Writing[] = [
  { name: 'single inserts', clients: 1 },
  { name: 'single inserts', clients: 8 },
  { name: 'single inserts', clients: MOST_CLIENTS },
  { name: 'inserts of 10 rows', clients: 8, rows: 10 },
  { name: 'two-phase commits of single inserts', clients: 8, isPrepared: true },
];

const SCRIPT = join(import.meta.dirname, 'insert-clients.ts');
export interface ConcurrentSettings {
  readonly url: string;
  readonly postgresPid: number | null;
  readonly repetitions: number;
  readonly seconds: number;
  readonly samples: number;
  readonly say: (text: string) => void;
}

export async function measureConcurrentInserts(
  tables: ComparedTables,
  settings: ConcurrentSettings,
): Promise<ConcurrentOutcome> {
  const { say } = settings;
  const leader = await PollingLeader.start(tables.watch, await tables.drawEpoch());
  const child = await forkScript(SCRIPT, { url: settings.url, clients: MOST_CLIENTS });
  try {
    say('a leader polls, and nothing changes …');
    const idle = await measureIdle(leader, settings);
    say('one insert after the other …');
    const idleDelay = await measureDelays(tables, leader, settings.samples);
    const writings: WritingOutcome[] = [];
    for (const writing of WRITINGS) {
      // A server of the caller's may not allow it.
      if (writing.isPrepared === true && !(await tables.mayPrepare())) continue;
      writings.push({ ...writing, ...(await measureRates(child, writing, settings)) });
    }
    say(`one insert after the other, while ${MOST_CLIENTS} clients insert elsewhere …`);
    const seconds = Math.max(5, settings.samples / 20);
    const inserting = tell(child, { table: tables.nameOf('bare'), seconds, clients: MOST_CLIENTS });
    const busyDelay = await measureDelays(tables, leader, settings.samples);
    await inserting;
    return { writings, idleDelay, busyDelay, idle };
  } finally {
    leader.stop();
    await stopForked(child);
  }

  async function measureRates(
    child: ChildProcess,
    { name, ...order }: Writing,
    { repetitions, seconds }: ConcurrentSettings,
  ) {
    const sides = CONCURRENT_SIDES.filter((side) => side !== 'notifying' || order.isPrepared !== true);
    const samples: Record<ConcurrentSide, number>[] = [];
    for (let repetition = 0; repetition < repetitions; repetition += 1) {
      say(`${repetition + 1} of ${repetitions}: ${name} by ${describeClients(order.clients)} …`);
      const rates = { adopted: 0, empty: 0, notifying: 0, bare: 0 };
      // Who goes first meets the colder caches.
      for (const index of sides.keys()) {
        const side = sides[(index + repetition) % sides.length]!;
        rates[side] = await tell(child, { table: tables.nameOf(side), seconds, ...order });
      }
      samples.push(rates);
    }
    const medians = (value: (sample: Record<ConcurrentSide, number>, side: ConcurrentSide) => number): Rates => ({
      adopted: null,
      empty: null,
      notifying: null,
      bare: null,
      ...Object.fromEntries(sides.map((side) => [side, median(samples.map((sample) => value(sample, side)))])),
    });
    return {
      rates: medians((sample, side) => sample[side]),
      shares: medians((sample, side) => sample[side] / sample.bare),
    };
  }
}

async function measureIdle(leader: PollingLeader, { postgresPid, seconds }: ConcurrentSettings) {
  const read = () => ({
    polls: leader.polls,
    own: process.cpuUsage(),
    postgres: postgresPid === null ? null : cpuMsOfTree(postgresPid),
    atMs: performance.now(),
  });
  const before = read();
  await delay(seconds * 2_000);
  const after = read();
  const tookMs = after.atMs - before.atMs;
  const own = (after.own.user + after.own.system - before.own.user - before.own.system) / 1_000;
  const postgres = after.postgres === null || before.postgres === null ? null : after.postgres - before.postgres;
  return {
    polls: ((after.polls - before.polls) / tookMs) * 1_000,
    postgres: postgres === null ? null : postgres / tookMs,
    leader: own / tookMs,
  };
}

async function measureDelays(tables: ComparedTables, leader: PollingLeader, samples: number): Promise<Summary | null> {
  const delays: number[] = [];
  for (let sample = 0; sample < samples; sample += 1) {
    // Anywhere between two polls.
    await delay(Math.random() * 40);
    const counted = leader.counted(leader.rows + 1);
    await tables.insertOneByOne('adopted', 1);
    const acknowledgedMs = performance.now();
    // A poll may find it before this process hears of its commit.
    delays.push(Math.max(0, (await counted) - acknowledgedMs));
  }
  return summarize(delays);
}

async function tell(child: ChildProcess, order: InsertOrder): Promise<number> {
  child.send(order);
  return Number(await nextMessage(child));
}

const SHOWN = ['bare', 'empty', 'adopted', 'notifying'] as const;

function describeClients(clients: number): string {
  return clients === 1 ? 'one client' : `${clients} clients`;
}

export function describeConcurrentInserts(outcome: ConcurrentOutcome) {
  const { writings, idleDelay, busyDelay, idle } = outcome;
  const share = (value: number | null) => (value === null ? '–' : `${(100 * value).toFixed(1)} %`);
  const delays = (name: string, delay: Summary | null) => [
    name,
    ...[delay?.n, delay?.p50, delay?.p99, delay?.max].map((value, index) =>
      formatNumber(value ?? null, index === 0 ? 0 : 1),
    ),
  ];
  return [
    {
      head: [
        'transactions a second',
        'clients',
        'without triggers',
        'ones that do nothing',
        'ours, a leader polls',
        'ours with NOTIFY',
        'share: nothing',
        'ours',
        'NOTIFY',
      ],
      rows: writings.map(({ name, clients, rates, shares }) => [
        name,
        formatNumber(clients),
        ...SHOWN.map((side) => formatNumber(rates[side])),
        ...SHOWN.slice(1).map((side) => shares[side]?.toFixed(2) ?? '–'),
      ]),
    },
    {
      head: ['commit acknowledged → counted, ms', 'n', 'p50', 'p99', 'max'],
      rows: [
        delays('nothing else happens', idleDelay),
        delays(`while ${MOST_CLIENTS} clients insert into another table`, busyDelay),
      ],
    },
    {
      head: ['a leader that finds nothing', 'polls a second', 'Postgres, of one core', 'leader, of one core'],
      rows: [['', formatNumber(idle.polls, 1), share(idle.postgres), share(idle.leader)]],
    },
  ];
}
