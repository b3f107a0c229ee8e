import { performance } from 'node:perf_hooks';
import { pino } from 'pino';
import { Registry } from 'prom-client';
import { makeWorkerMetrics } from '../../services/worker/metrics.ts';
import type { WorkerEffect } from '../../services/worker/protocol.ts';
import { makeWorkerReports } from '../../services/worker/reports.ts';
import {
  advanceRound,
  finishTick,
  NO_ROUND,
  type RoundContext,
  type RoundState,
  receiveIds,
} from '../../services/worker/round.ts';
import type { Fence } from '../../shared/postgres/fence.ts';
import type { DriverSetup } from './driver-messages.ts';

/** As the worker's own. */
const CHUNK_ROWS = 6_000;

/**
 * A worker's round with nothing left out but the waiting: the product's own machine decides what is asked, the product's own
 * fence asks it, ids are read when the checksum says so, and each round is reported and logged, to nowhere.
 */
export class OurRound {
  readonly #setup: DriverSetup;
  readonly #fence: Fence;
  readonly #report = makeWorkerReports({
    log: pino({ level: 'info' }, pino.destination({ dest: '/dev/null', sync: true })),
    metrics: makeWorkerMetrics(new Registry()),
    subject: 'ring.snapshot',
    logIdsMax: 10_000,
    output: { isBehind: false, hasRoom: true },
  });
  #state: RoundState = NO_ROUND;

  constructor(setup: DriverSetup, fence: Fence) {
    this.#setup = setup;
    this.#fence = fence;
  }

  async run(tick: number, statementMs: number[]): Promise<number> {
    const step = advanceRound(this.#state, this.#contextAt(tick));
    this.#state = step.state;
    const queue: WorkerEffect[] = [...step.effects];
    for (let effect = queue.shift(); effect !== undefined; effect = queue.shift()) {
      queue.push(...(await this.#perform(effect, tick, statementMs)));
    }
    return this.#state.rows;
  }

  async #perform(effect: WorkerEffect, tick: number, statementMs: number[]): Promise<readonly WorkerEffect[]> {
    if (effect.kind === 'report') {
      this.#report(effect.report);
      return [];
    }
    if (effect.kind === 'tick') {
      const startedMs = performance.now();
      const { kind: _, lane: __, ...asked } = effect;
      const result = await this.#fence.tick({ worker: this.#setup.worker, incarnation: 1, ...asked });
      statementMs.push(performance.now() - startedMs);
      return this.#take(finishTick(this.#state, { ...asked, result }, effect.lane, this.#contextAt(tick)));
    }
    if (effect.kind === 'read-ids') {
      const ids = await this.#fence.readIds({ slots: effect.slots });
      return this.#take(receiveIds(this.#state, { tick: effect.tick, ids }, this.#contextAt(tick)));
    }
    throw new Error(`a round asked for ${effect.kind}`);
  }

  #take(step: { readonly state: RoundState; readonly effects: readonly WorkerEffect[] }): readonly WorkerEffect[] {
    this.#state = step.state;
    return step.effects;
  }

  /** The database's clock shows exactly this second. */
  #contextAt(tick: number): RoundContext {
    const nowMs = performance.now();
    return {
      clock: { samples: [{ offsetMs: tick * 1000 + 1 - nowMs, roundTripMs: 0 }] },
      phaseMs: 0,
      chunkRows: CHUNK_ROWS,
      slots: this.#setup.slots,
      lingering: [],
      expectedRows: this.#setup.rows,
      ring: this.#setup.version,
      measuredMs: nowMs,
      nowMs,
    };
  }
}
