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
  readonly clients: number;
  /** Inserts a second; medians. */
  readonly rates: Readonly<Record<ConcurrentSide, number>>;
  /** Of the rate without triggers; medians of the repetitions' own ratios. */
  readonly shares: Readonly<Record<ConcurrentSide, number>>;
  /** From an insert's acknowledgement until it is counted, ms. */
  readonly idleDelay: Summary | null;
  readonly busyDelay: Summary | null;
  /** Of a leader that finds nothing: polls a second, and the shares of one core that they take. */
  readonly idle: { readonly polls: number; readonly postgres: number | null; readonly leader: number };
}

const SCRIPT = join(import.meta.dirname, 'insert-clients.ts');
const CLIENTS = 32;

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
  const child = await forkScript(SCRIPT, { url: settings.url, clients: CLIENTS });
  try {
    say('a leader polls, and nothing changes …');
    const idle = await measureIdle(leader, settings);
    say('one insert after the other …');
    const idleDelay = await measureDelays(tables, leader, settings.samples);
    const { rates, shares } = await measureRates(child, settings);
    say(`one insert after the other, while ${CLIENTS} clients insert elsewhere …`);
    const inserting = tell(child, { table: tables.nameOf('bare'), seconds: Math.max(5, settings.samples / 20) });
    const busyDelay = await measureDelays(tables, leader, settings.samples);
    await inserting;
    return { clients: CLIENTS, rates, shares, idleDelay, busyDelay, idle };
  } finally {
    leader.stop();
    await stopForked(child);
  }

  async function measureRates(child: ChildProcess, { repetitions, seconds }: ConcurrentSettings) {
    const samples: Record<ConcurrentSide, number>[] = [];
    for (let repetition = 0; repetition < repetitions; repetition += 1) {
      say(`${repetition + 1} of ${repetitions}: inserts by ${CLIENTS} clients …`);
      const rates = { adopted: 0, empty: 0, notifying: 0, bare: 0 };
      // Who goes first meets the colder caches.
      const { length } = CONCURRENT_SIDES;
      const sides = CONCURRENT_SIDES.map((_, index) => CONCURRENT_SIDES[(index + repetition) % length]!);
      for (const side of sides) rates[side] = await tell(child, { table: tables.nameOf(side), seconds });
      samples.push(rates);
    }
    const medians = (value: (sample: Record<ConcurrentSide, number>, side: ConcurrentSide) => number) =>
      Object.fromEntries(
        CONCURRENT_SIDES.map((side) => [side, median(samples.map((sample) => value(sample, side)))]),
      ) as Record<ConcurrentSide, number>;
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

const TITLES: Readonly<Record<ConcurrentSide, string>> = {
  bare: 'without triggers',
  empty: 'with ones that do nothing',
  adopted: 'ours, and a leader that polls',
  notifying: 'as ours, with a NOTIFY',
};

export function describeConcurrentInserts(outcome: ConcurrentOutcome) {
  const { rates, shares, idleDelay, busyDelay, idle } = outcome;
  const share = (value: number | null) => (value === null ? '–' : `${(100 * value).toFixed(1)} %`);
  const delays = (name: string, delay: Summary | null) => [
    name,
    ...[delay?.n, delay?.p50, delay?.p99, delay?.max].map((value, index) =>
      formatNumber(value ?? null, index === 0 ? 0 : 1),
    ),
  ];
  return [
    {
      head: [`single inserts by ${outcome.clients} clients`, 'a second', 'of that without triggers'],
      rows: (['bare', 'empty', 'adopted', 'notifying'] as const).map((side) => [
        TITLES[side],
        formatNumber(rates[side]),
        shares[side].toFixed(2),
      ]),
    },
    {
      head: ['commit acknowledged → counted, ms', 'n', 'p50', 'p99', 'max'],
      rows: [
        delays('nothing else happens', idleDelay),
        delays(`while ${outcome.clients} clients insert into another table`, busyDelay),
      ],
    },
    {
      head: ['a leader that finds nothing', 'polls a second', 'Postgres, of one core', 'leader, of one core'],
      rows: [['', formatNumber(idle.polls, 1), share(idle.postgres), share(idle.leader)]],
    },
  ];
}
