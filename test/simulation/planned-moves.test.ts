import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { StepChecks } from './checks.ts';
import { checkQuiet } from './rest-checks.ts';
import { World } from './world.ts';

const SEEDS = 60;
const WARM_UP_MS = 6_000;
const MOVES_MS = 20_000;
const QUIET_MS = 15_000;
const SLOTS = 16;

type Move = 'drain' | 'undrain' | 'leave' | 'join';

/** Ticks of slots that have rows, in order, from the warm-up's end on. */
function findGaps(world: World): string[] {
  const ticks = new Map<number, number[]>();
  for (const record of world.postgres.records) {
    if (record.kind === 'increment') ticks.set(record.slot, [...(ticks.get(record.slot) ?? []), record.tick]);
  }
  const startTick = Math.floor((WARM_UP_MS + world.postgres.clockOffsetMs) / 1000);
  return [...ticks].flatMap(([slot, all]) => {
    const later = all.filter((tick) => tick >= startTick).sort((a, b) => a - b);
    return later.flatMap((tick, index) => {
      const before = later[index - 1];
      return before === undefined || tick === before + 1 ? [] : [`slot ${slot}: no tick between ${before} and ${tick}`];
    });
  });
}

function makeMove(world: World, move: Move): void {
  const { liveWorkers, random } = world;
  if (move === 'join') {
    if (liveWorkers.length < 5) world.startWorker(`worker-${world.workers.length + 1}`);
    return;
  }
  const worker = liveWorkers.length === 0 ? undefined : random.pick(liveWorkers);
  if (worker === undefined) return;
  if (move !== 'leave') return worker.deliver({ kind: `${move}-requested` });
  // The last one has nobody to hand over to.
  if (liveWorkers.filter(({ state }) => state.departure === null).length > 1)
    worker.deliver({ kind: 'leave-requested' });
}

/** A slow world in which nothing fails: workers come, go, are drained and undrained, often several at once. */
function simulateMoves(seed: number): { readonly world: World; readonly moves: readonly string[] } {
  const world = new World({ seed, slots: SLOTS, broken: 'none' });
  const { random, timeline, postgres } = world;
  for (let slot = 0; slot < SLOTS; slot += 1) postgres.changeRows(slot, random.between(0, 3));
  for (const id of ['coordinator-1', 'coordinator-2']) world.startCoordinator(id);
  for (let index = 1; index <= 3; index += 1) world.startWorker(`worker-${index}`);
  // Slow, but every round still ends within its second: a longer one may lose its number to a handover.
  world.weather.longestDelayMs = 60;
  const moves: string[] = [];
  const count = random.between(3, 12);
  for (let index = 0; index < count; index += 1) {
    const move = random.pick<Move>(['drain', 'drain', 'undrain', 'undrain', 'leave', 'join']);
    const atMs = random.between(WARM_UP_MS, WARM_UP_MS + MOVES_MS);
    moves.push(`${atMs} ms: ${move}`);
    timeline.at(atMs, () => makeMove(world, move));
  }
  const checks = new StepChecks(world);
  timeline.runUntil(WARM_UP_MS + MOVES_MS + QUIET_MS, () => checks.check());
  checkQuiet(world);
  return { world, moves };
}

describe('simulation of planned moves', () => {
  it(`DESIGN §9: joins, leaves, drains and undrains miss no tick, for ${SEEDS} seeds`, () => {
    let handovers = 0;
    for (let seed = 1; seed <= SEEDS; seed += 1) {
      const { world, moves } = simulateMoves(seed);
      assert.deepEqual(findGaps(world), [], `seed ${seed}: ${moves.join(', ')}`);
      handovers += world.accepted.filter(({ snapshot }) => snapshot.cause.evidence === 'drained').length;
    }
    assert.ok(handovers > SEEDS / 2, `${handovers} rings were made for a drain`);
  });
});
