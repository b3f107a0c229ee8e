/**
 * As little as a worker's process can be: each second it increments its rows, and told of a change it makes two statements,
 * as a claim and a first tick are, and says that it is done. Forked by `measureFloor`; ends with it.
 */
import { connect } from 'nats';
import pg from 'pg';
import { DONE_SUBJECT, type FloorSetup, TOLD_SUBJECT } from './floor.ts';

const { natsUrl, databaseUrl, worker, slots, gained, phaseMs }: FloorSetup = JSON.parse(process.argv[2] ?? '');
const claim = {
  name: 'claim',
  text: 'UPDATE floor_slot SET owner = $1, version = version + 1 WHERE slot = ANY ($2::int[])',
};
const tick = { name: 'tick', text: 'UPDATE floor_row SET value = value + 1 WHERE slot = ANY ($1::int[])' };

const nats = await connect({ servers: natsUrl });
const [rounds, claims] = [await openClient(), await openClient()];
await takeOver();
await rounds.query({ ...tick, values: [slots] });
nats.subscribe(TOLD_SUBJECT, {
  callback: () => void takeOver().then(() => nats.publish(DONE_SUBJECT)),
});
await nats.flush();
setTimeout(() => setInterval(() => void rounds.query({ ...tick, values: [slots] }), 1_000), phaseMs);
process.once('disconnect', () => process.exit(0));
process.send?.('ready');

async function takeOver(): Promise<void> {
  await claims.query({ ...claim, values: [worker, gained] });
  await claims.query({ ...tick, values: [gained] });
}

async function openClient(): Promise<pg.Client> {
  const client = new pg.Client({ connectionString: databaseUrl });
  await client.connect();
  return client;
}
