import { Violation } from './violation.ts';
import { type Departure, type Eviction, LEASE_TTL_MS, type LeaderAct, type World } from './world.ts';

/** A probe's answer is this old at most, ms: what it found is taken for the present. */
const ABSENCE_AGE_MS = 100;
/** Longer than it takes to put out a worker that does not tick, the slowest of all evidence. */
const AFTERMATH_MS = 8_000;

/**
 * What the guards of DESIGN §6 are for, after every step: nobody is put out who was well all the time, whatever happened to
 * servers, coordinators or others; no key is deleted that was put after the decision; and no leader acts whose key may have expired.
 */
export class GuardChecks {
  readonly #world: World;
  #seenEvictions = 0;
  #seenDepartures = 0;
  #seenActs = 0;

  constructor(world: World) {
    this.#world = world;
  }

  check(): void {
    const { evictions, departures, leaderActs } = this.#world;
    for (const eviction of evictions.slice(this.#seenEvictions)) this.#checkEviction(eviction);
    for (const departure of departures.slice(this.#seenDepartures)) this.#checkDeparture(departure);
    for (const act of leaderActs.slice(this.#seenActs)) checkAct(act);
    this.#seenEvictions = evictions.length;
    this.#seenDepartures = departures.length;
    this.#seenActs = leaderActs.length;
  }

  #checkEviction({ worker, evidence, putMs, decidedMs }: Eviction): void {
    if (putMs > decidedMs) {
      throw new Violation(
        `${worker}'s key of ${Math.round(putMs)} ms was deleted by a decision of ${Math.round(decidedMs)} ms`,
      );
    }
    const node = this.#world.workers.findLast(({ id }) => id === worker);
    if (evidence !== 'connection-closed' || node === undefined || !node.isAlive || !node.isConnected) return;
    if (putMs <= node.presentSinceMs + ABSENCE_AGE_MS) return;
    const since = `there since ${Math.round(node.presentSinceMs)} ms, its key put at ${Math.round(putMs)} ms`;
    throw new Violation(`${worker} was put out as disconnected, though ${since}`);
  }

  #checkDeparture(departure: Departure): void {
    const { worker, evidence, coordinator, atMs } = departure;
    if (evidence === 'left' || evidence === 'drained') return;
    const { workers, calmSinceMs } = this.#world;
    const node = workers.findLast(({ id }) => id === worker);
    const isThere = node?.isAlive === true && node.state.stage === 'running' && node.state.departure === null;
    if (!isThere || node.isInTrouble) return;
    const wellSinceMs = Math.max(node.troubledAtMs, calmSinceMs);
    if (atMs - wellSinceMs < AFTERMATH_MS || this.#isMassSilenceBlurred(atMs) || this.#isInTheDark(departure)) return;
    const since = `it has been well since ${Math.round(wellSinceMs)} ms`;
    throw new Violation(`${coordinator} put ${worker} out needlessly (${evidence}): ${since}`);
  }

  /** Hard of hearing just when the keys expired in a bucket that could store nothing: there is neither a word nor a key to go by. */
  #isInTheDark({ coordinator, atMs }: Departure): boolean {
    const { coordinators, leaderlessUntilMs } = this.#world;
    const isDeaf = coordinators.some(({ id, deafTo }) => id === coordinator && deafTo.has('plain'));
    return isDeaf && atMs - leaderlessUntilMs < AFTERMATH_MS;
  }

  /**
   * Who was cut off with others is given more than one lease where they were most, counted from when they were last heard: with
   * any who came or went, or a coordinator that was hard of hearing before, it is open.
   */
  #isMassSilenceBlurred(atMs: number): boolean {
    const { severedMs, workers, coordinators } = this.#world;
    if (atMs - severedMs.to >= AFTERMATH_MS) return false;
    const isBlurring = (node: { readonly isInTrouble: boolean; readonly troubledAtMs: number }) =>
      node.isInTrouble || node.troubledAtMs > severedMs.from - AFTERMATH_MS;
    return workers.some(isBlurring) || coordinators.some(isBlurring);
  }
}

function checkAct({ coordinator, effect, atMs, keyPutMs }: LeaderAct): void {
  if (atMs - keyPutMs <= LEASE_TTL_MS) return;
  const since = Number.isFinite(keyPutMs) ? `its key was put ${Math.round(atMs - keyPutMs)} ms ago` : 'it has no key';
  throw new Violation(`${coordinator} acts as the leader (${effect}), though ${since}`);
}
