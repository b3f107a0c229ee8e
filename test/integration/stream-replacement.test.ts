import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { connect, type JetStreamManager, type NatsConnection, type StreamConfig } from 'nats';
import pg from 'pg';
import { eventually, type LogLine, type ServiceProcess } from '../support/service-process.ts';
import { takePicture } from '../support/stream-picture.ts';
import { TestSystem } from '../support/test-system.ts';

/** A running system loses its streams, and another application creates its own under the same names. */
/** So few that every difference of more than one row makes a new ring. */
const ROWS = 12;
/** Renewals, watches and reads of the newest snapshot all come by meanwhile. */
const TICKS = 6;

describe('another application’s stream that takes the place of ours at runtime', { timeout: 240_000 }, () => {
  let system: TestSystem;
  let nats: NatsConnection;
  let manager: JetStreamManager;
  let coordinator: ServiceProcess;
  let workers: ServiceProcess[];
  let postgres: pg.Client;
  let third: ServiceProcess | null = null;
  let rows = 0;

  before(async () => {
    system = await TestSystem.start();
    nats = await connect({ servers: system.natsUrl });
    manager = await nats.jetstreamManager();
    coordinator = system.coordinator('c');
    await coordinator.waitFor('leading', ({ msg }) => msg === 'leading');
    postgres = new pg.Client({ connectionString: system.databaseUrl });
    await postgres.connect();
    workers = ['w1', 'w2'].map((id) => system.worker(id));
    for (let row = 0; row < ROWS; row += 1) await addRow();
    await system.watching(workers, rows);
  });

  after(async () => {
    await postgres?.end();
    await nats?.close();
    await system?.stop();
  });

  interface Case {
    readonly base: string;
    /** Makes the coordinator publish to the stream. */
    readonly act?: () => Promise<void>;
    /** Undoes it, and makes it publish once more. */
    readonly undo?: () => Promise<void>;
  }
  const cases: readonly Case[] = [
    { base: 'TABLE', act: () => addRow(), undo: () => addRow() },
    { base: 'RING', act: () => order('drain'), undo: () => order('undrain') },
    { base: 'RECOVERY', act: () => join(), undo: () => leave() },
    { base: 'KV_workers' },
    { base: 'KV_coordinators' },
  ];
  for (const { base, act, undo } of cases) {
    test(`${base} is reported and neither changed nor written to; rows are ticked, and all heals when it goes`, async () => {
      const [name, subject] = namesOf(base);
      const from = coordinator.lines.length;
      const isOf = (text: string) => (line: LogLine) => line.msg === text && line.stream === name;
      await replace(name, { subjects: [subject], description: 'orders', max_msgs: 1_000 });
      await nats.jetstream().publish(subject.replace('>', 'mine'), 'theirs');
      const before = await takePicture(manager, name);
      await act?.();
      const isReport = isOf('stream of another application not used');
      const report = await coordinator.waitFor('the report', isReport, from);
      assert.match(String(report.reason), /is not Notifi-Scaler's.*--nats-prefix/);
      await everyRowTicked();
      assert.deepEqual(await takePicture(manager, name), before);
      assert.equal(coordinator.lines.slice(from).filter(isReport).length, 1, 'reported once');

      await manager.streams.delete(name);
      await undo?.();
      await coordinator.waitFor('its own stream again', isOf('stream is ours again'), from);
      await system.watching(workers, rows);
    });
  }

  test('a subject that another stream captures is reported and not published to', async () => {
    const [name, subject] = namesOf('TABLE');
    const from = coordinator.lines.length;
    const shop = `${system.prefix}_SHOP`;
    await replace(name, { name: shop, subjects: [subject], max_msgs: 1_000 });
    const before = await takePicture(manager, shop);
    await addRow();
    const report = await coordinator.waitFor(
      'the report',
      ({ msg }) => msg === 'stream of another application not used',
      from,
    );
    assert.match(
      String(report.reason),
      new RegExp(`stream ${name} cannot be created.*overlaps stream ${shop}.*--nats-prefix`),
    );
    await everyRowTicked();
    assert.deepEqual(await takePicture(manager, shop), before);
    await manager.streams.delete(shop);
    await addRow();
    await coordinator.waitFor('its own stream again', ({ msg }) => msg === 'stream is ours again', from);
  });

  function namesOf(base: string): readonly [string, string] {
    const { prefix } = system;
    switch (base) {
      case 'TABLE':
        return [`${prefix}_TABLE`, `${prefix}.table.>`];
      case 'RING':
        return [`${prefix}_RING`, `${prefix}.ring.snapshot`];
      case 'RECOVERY':
        return [`${prefix}_RECOVERY`, `${prefix}.ring.recovery`];
      default:
        return [base.replace('KV_', `KV_${prefix}_`), base.replace('KV_', `$KV.${prefix}_`).concat('.>')];
    }
  }

  /** Our services create a lost stream again within a moment: whoever comes first has the name. */
  async function replace(name: string, settings: Partial<StreamConfig>): Promise<void> {
    await eventually(`a foreign stream in the place of ${name}`, async () => {
      await manager.streams.delete(name).catch(() => {});
      return manager.streams.add({ name, ...settings }).then(
        () => true,
        () => false,
      );
    });
  }

  /** Whoever owns a row now: it goes on being incremented. */
  async function everyRowTicked(): Promise<void> {
    const least = async () => {
      const found = await postgres.query('SELECT min(value) AS least FROM public.work_items');
      return Number(found.rows[0].least);
    };
    const start = await least();
    await eventually(
      `${TICKS} ticks of every row`,
      async () => (await least()) >= start + TICKS,
      () => coordinator.tail(),
    );
  }

  async function addRow(): Promise<void> {
    await postgres.query('INSERT INTO public.work_items DEFAULT VALUES');
    rows += 1;
  }

  async function order(command: 'drain' | 'undrain'): Promise<void> {
    await nats.request(`${system.prefix}.worker.w2.${command}`);
  }

  async function join(): Promise<void> {
    third = system.worker('w3');
    await third.waitFor('its rows', ({ msg, count }) => msg === 'watching' && Number(count) > 0);
  }

  async function leave(): Promise<void> {
    third?.signal('SIGTERM');
    assert.equal(await third?.end(), 0);
  }
});
