/**
 * As little as a worker's process can be and do its work: each second a fenced tick of its slots, two renewals and a log line of
 * its ids; at a change the ring checked whole and one claim. No state, no reports, nothing that handles a failure.
 * Forked by `measureFloor`; ends with it.
 */
import { randomUUID } from 'node:crypto';
import { connect } from 'nats';
import pg from 'pg';
import { CLAIM_TEXT, FENCE_SETTINGS, tickText } from '../../shared/postgres/fence-statements.ts';
import { numberArray, numberTypes } from '../../shared/postgres/types.ts';
import { decodeSnapshot, type Snapshot, sliceOf } from '../../shared/ring/snapshot.ts';
import { ALIVE_SUBJECT, DONE_SUBJECT, type FloorSetup, TOLD_SUBJECT } from './floor-setup.ts';

const setup: FloorSetup = JSON.parse(process.argv[2] ?? '');
const { worker } = setup;
const INCARNATION = 1;
const claim = { name: 'claim', text: CLAIM_TEXT };
const tick = { name: 'tick', text: tickText(setup.table, setup.slots) };
const encoder = new TextEncoder();
const ids = Array.from({ length: setup.rows }, () => randomUUID());

const nats = await connect({ servers: setup.natsUrl });
const stream = nats.jetstream();
const [rounds, claims] = [await openClient(), await openClient()];
let slots: readonly number[] = [];
let changes = 0;
nats.subscribe(TOLD_SUBJECT, {
  callback: (_, { data }) => {
    const read = decodeSnapshot(data, { slots: setup.slots });
    if (!read.ok) throw new Error(read.reason);
    void takeOver(read.snapshot);
  },
});
await nats.flush();
setTimeout(() => setInterval(() => void round(), 1_000), setup.phaseMs);
setTimeout(() => setInterval(() => void renew(), 500), setup.phaseMs / 2);
process.once('disconnect', () => process.exit(0));
process.send?.('ready');

/** Its own slots the first time; each time what its neighbour had of the leaver's. */
async function takeOver(ring: Snapshot): Promise<void> {
  const { index, others } = setup;
  changes += 1;
  const own = sliceOf(ring, worker);
  const gained = sliceOf(ring, setup.leaver).filter((_, at) => at % others === (index + changes) % others);
  const wanted = changes === 1 ? [...own, ...gained].sort((a, b) => a - b) : gained;
  if (wanted.length > 0)
    await claims.query({ ...claim, values: [numberArray(wanted), worker, INCARNATION, 1, changes] });
  slots = [...own, ...gained];
  nats.publish(DONE_SUBJECT);
}

async function round(): Promise<void> {
  await rounds.query({ ...tick, values: [numberArray(slots), worker, INCARNATION, Math.floor(Date.now() / 1_000)] });
  process.stdout.write(`${JSON.stringify({ worker, ids })}\n`);
}

async function renew(): Promise<void> {
  const key = encoder.encode(JSON.stringify({ id: worker, rows: ids.length }));
  await stream.publish(`${ALIVE_SUBJECT}.${worker}`, key);
}

async function openClient(): Promise<pg.Client> {
  const client = new pg.Client({ connectionString: setup.databaseUrl, types: numberTypes });
  await client.connect();
  await client.query(`${FENCE_SETTINGS}; SET jit = off`);
  return client;
}
