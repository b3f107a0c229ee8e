import { setTimeout as delay } from 'node:timers/promises';
import type { PostgresLink } from '../../shared/postgres/connection.ts';
import type { Session } from '../../shared/postgres/session.ts';
import { quoteName, quoteTable, slotExpression, type TableNames } from '../../shared/postgres/table.ts';
import { type Snapshot, toAssignment } from '../../shared/ring/snapshot.ts';
import type { FenceSample, FenceSeen, SeenClaim } from './handover.ts';

export interface Watched {
  readonly table: TableNames;
  /** The ring that all was claimed under before: what is claimed later has a higher order. */
  readonly after: Snapshot;
  /** The rings heard since, the newest last: nothing is claimed that none of them gives to another. */
  readonly heard: () => readonly Snapshot[];
}

/**
 * Between an answer and the next question: as long as the answer took, within these. A tighter loop would take the
 * processor from those it watches, most of all when they have too little of it.
 */
const SHORTEST_PAUSE_MS = 2;
const LONGEST_PAUSE_MS = 6;
const STATEMENT_LIMIT_MS = 5_000;
/** Postgres plans a prepared statement anew five times before it keeps a plan. */
const TIMES_UNTIL_PLANNED = 6;

/**
 * Looks at the fence again and again, over a connection of its own, and keeps each state that is new. It asks for the slots
 * that move, until each is claimed and ticked, and is answered with what is new: with fifty workers, asking for every slot
 * each time took most of a processor, looking through all for those claimed since took a third of one, and what it watched
 * had to wait for it.
 */
export class FenceWatch implements FenceSeen {
  readonly before: ReadonlyMap<number, string | null>;
  readonly samples: FenceSample[] = [];
  /** Between two looks, ms: the resolution of all that is read from the samples. */
  readonly gapsMs: number[] = [];
  readonly #done: Promise<void>;
  #isStopping = false;

  private constructor(session: Session, watched: Watched, before: ReadonlyMap<number, string | null>) {
    this.before = before;
    this.#done = this.#look(session, watched);
    this.#done.catch(() => {});
  }

  /** Resolves when the state before the fault is known. */
  static async start(link: PostgresLink, watched: Watched): Promise<FenceWatch> {
    const session = await link.open({ statementTimeoutMs: STATEMENT_LIMIT_MS });
    // Rows are looked up by slot, however few they are.
    await session.query({ name: 'fence-watch-plan', text: 'SET enable_seqscan = off' });
    const { rows } = await session.query<{ slot: number; worker: string | null }>({
      name: 'fence-watch-owners',
      text: 'SELECT slot, worker FROM scaler.slot',
    });
    // Prepared and planned beforehand: the first look that counts must not be the slow one.
    for (let time = 0; time < TIMES_UNTIL_PLANNED; time += 1) await askNews(session, watched, [], new Map());
    return new FenceWatch(session, watched, new Map(rows.map(({ slot, worker }) => [slot, worker])));
  }

  async stop(): Promise<void> {
    this.#isStopping = true;
    await this.#done;
  }

  async #look(session: Session, watched: Watched): Promise<void> {
    const moves = new Moves(watched.after);
    const claims = new Map<number, SeenClaim>();
    const awaited = new Set<number>();
    let lookedAtMs = performance.now();
    try {
      while (!this.#isStopping) {
        const askedAtMs = performance.now();
        for (const slot of moves.since(watched.heard())) awaited.add(slot);
        // Also when nothing is awaited, which costs next to nothing: a connection that has rested is slow to answer.
        const rows = await askNews(session, watched, [...awaited], claims);
        const atMs = performance.now();
        this.gapsMs.push(atMs - lookedAtMs);
        lookedAtMs = atMs;
        for (const { slot, ...claim } of rows) {
          claims.set(slot, claim);
          if (claim.isTicked) awaited.delete(slot);
        }
        if (rows.length > 0) this.samples.push({ atMs, claims: new Map(claims) });
        await delay(Math.min(LONGEST_PAUSE_MS, Math.max(SHORTEST_PAUSE_MS, atMs - askedAtMs)));
      }
    } finally {
      await session.end();
    }
  }
}

/** The slots that a ring gives to another than the ring before it. */
class Moves {
  #owners: (string | undefined)[];
  #looked = 0;

  constructor(before: Snapshot) {
    this.#owners = ownersOf(before);
  }

  /** Of the rings that were not there the last time. */
  since(rings: readonly Snapshot[]): number[] {
    const slots: number[] = [];
    for (const ring of rings.slice(this.#looked)) {
      const owners = ownersOf(ring);
      owners.forEach((owner, slot) => {
        if (owner !== this.#owners[slot]) slots.push(slot);
      });
      this.#owners = owners;
    }
    this.#looked = rings.length;
    return slots;
  }
}

function ownersOf(ring: Snapshot): (string | undefined)[] {
  const { workers, owners } = toAssignment(ring);
  return Array.from(owners, (owner) => workers[owner]);
}

/** Which of the slots were claimed since, or by another than is known, and which have all their rows ticked by now? */
async function askNews(
  session: Session,
  { table, after }: Watched,
  slots: readonly number[],
  known: ReadonlyMap<number, SeenClaim>,
): Promise<(SeenClaim & { readonly slot: number })[]> {
  const unticked = slots.filter((slot) => known.has(slot));
  const owners = unticked.map((slot) => known.get(slot)?.worker);
  const { rows } = await session.query<SeenClaim & { slot: number }>({
    name: 'fence-watch',
    text: newsText(table, after.slots),
    values: [slots, after.epoch, after.version, unticked, owners],
  });
  return rows;
}

/** slots[], epoch, version, claimed[], their workers[] → a row for each slot claimed by another than is known, or ticked. */
function newsText(names: TableNames, slots: number): string {
  const isAnothers = `w.${quoteName(names.worker)} IS DISTINCT FROM s.worker`;
  return `SELECT s.slot, s.worker, t.ticked AS "isTicked"
    FROM scaler.slot s LEFT JOIN unnest($4::int[], $5::text[]) AS known (slot, worker) ON known.slot = s.slot,
      LATERAL (SELECT NOT EXISTS (SELECT FROM ${quoteTable(names)} w
        WHERE ${slotExpression(names.id, slots, 'w')} = s.slot AND ${isAnothers} OFFSET 0) AS ticked OFFSET 0) t
    WHERE s.slot = ANY ($1::int[]) AND s.worker IS NOT NULL AND (s.epoch, s.version) > ($2::bigint, $3::bigint)
      AND (s.worker IS DISTINCT FROM known.worker OR t.ticked)`;
}
