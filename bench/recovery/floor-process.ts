/**
 * As little as a worker's process can be and keep the contract: each second a fenced tick of its slots, two renewals and a log
 * line of its ids; at a change the ring checked whole and one claim. No state, no reports, nothing that handles a failure.
 * Forked by `measureFloor`; ends with it.
 */
import { connect } from 'nats';
import pg from 'pg';
import { CLAIM_TEXT, FENCE_SETTINGS, tickText } from '../../shared/postgres/fence-statements.ts';
import { decodeSnapshot, sliceOf } from '../../shared/ring/snapshot.ts';
import { ALIVE_SUBJECT, DONE_SUBJECT, type FloorSetup, TABLE, TOLD_SUBJECT } from './floor-setup.ts';

const { natsUrl, databaseUrl, worker, ring, gained, ids, phaseMs }: FloorSetup = JSON.parse(process.argv[2] ?? '');
const claim = { name: 'claim', text: CLAIM_TEXT };
const tick = { name: 'tick', text: tickText(TABLE, ring) };
const encoder = new TextEncoder();

const nats = await connect({ servers: natsUrl });
const stream = nats.jetstream();
const [rounds, claims] = [await openClient(), await openClient()];
let slots: readonly number[] = [];
let version = 0;
nats.subscribe(TOLD_SUBJECT, {
  callback: (_, { data }) => {
    const read = decodeSnapshot(data, { slots: ring });
    if (!read.ok) throw new Error(read.reason);
    void takeOver(sliceOf(read.snapshot, worker));
  },
});
await nats.flush();
setTimeout(() => setInterval(() => void round(), 1_000), phaseMs);
setTimeout(() => setInterval(() => void renew(), 500), phaseMs / 2);
process.once('disconnect', () => process.exit(0));
process.send?.('ready');

/** All the first time; then what one leaver's part would be, each time in another name, so that it is a claim. */
async function takeOver(mine: readonly number[]): Promise<void> {
  version += 1;
  const isFirst = slots.length === 0;
  slots = mine;
  const [wanted, name] = isFirst ? [mine, worker] : [gained, `${worker}-${version % 2}`];
  await claims.query({ ...claim, values: [wanted, name, 1, version] });
  nats.publish(DONE_SUBJECT);
}

async function round(): Promise<void> {
  await rounds.query({ ...tick, values: [slots, worker, Math.floor(Date.now() / 1_000)] });
  process.stdout.write(`${JSON.stringify({ worker, ids })}\n`);
}

async function renew(): Promise<void> {
  await stream.publish(`${ALIVE_SUBJECT}.${worker}`, encoder.encode(JSON.stringify({ id: worker, rows: ids.length })));
}

async function openClient(): Promise<pg.Client> {
  const client = new pg.Client({ connectionString: databaseUrl });
  await client.connect();
  await client.query(`${FENCE_SETTINGS}; SET jit = off`);
  return client;
}
