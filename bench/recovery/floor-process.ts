/**
 * As little as a worker's process can be: each second it increments its rows, renews its key twice, as at the default heartbeat,
 * and logs its ids; told of a change it reads the ring, claims what it gains and says that it is done. Forked by
 * `measureFloor`; ends with it.
 */
import { connect } from 'nats';
import pg from 'pg';
import { ALIVE_SUBJECT, DONE_SUBJECT, type FloorSetup, TOLD_SUBJECT } from './floor.ts';

const { natsUrl, databaseUrl, worker, slots, gained, phaseMs }: FloorSetup = JSON.parse(process.argv[2] ?? '');
const claim = {
  name: 'claim',
  text: 'UPDATE floor_slot SET owner = $1, version = version + 1 WHERE slot = ANY ($2::int[])',
};
const tick = { name: 'tick', text: 'UPDATE floor_row SET value = value + 1 WHERE slot = ANY ($1::int[])' };
const decoder = new TextDecoder();
const encoder = new TextEncoder();

const nats = await connect({ servers: natsUrl });
const stream = nats.jetstream();
const [rounds, claims] = [await openClient(), await openClient()];
const { rows } = await rounds.query('SELECT id FROM floor_row WHERE slot = ANY ($1::int[]) ORDER BY id', [slots]);
const ids = rows.map(({ id }) => id);
await claims.query({ ...claim, values: [worker, gained] });
await round();
nats.subscribe(TOLD_SUBJECT, {
  callback: (_, { data }) => {
    const { workers } = JSON.parse(decoder.decode(data)) as { workers: { id: string; slots: string }[] };
    if (workers.some(({ id, slots }) => id === worker && slots !== '')) void takeOver();
  },
});
await nats.flush();
setTimeout(() => setInterval(() => void round(), 1_000), phaseMs);
setTimeout(() => setInterval(() => void renew(), 500), phaseMs / 2);
process.once('disconnect', () => process.exit(0));
process.send?.('ready');

async function takeOver(): Promise<void> {
  await claims.query({ ...claim, values: [worker, gained] });
  nats.publish(DONE_SUBJECT);
}

async function round(): Promise<void> {
  await rounds.query({ ...tick, values: [slots] });
  process.stdout.write(`${JSON.stringify({ worker, ids })}\n`);
}

async function renew(): Promise<void> {
  await stream.publish(`${ALIVE_SUBJECT}.${worker}`, encoder.encode(JSON.stringify({ id: worker, rows: ids.length })));
}

async function openClient(): Promise<pg.Client> {
  const client = new pg.Client({ connectionString: databaseUrl });
  await client.connect();
  return client;
}
