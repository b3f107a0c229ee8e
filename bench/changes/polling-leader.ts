import type { CoordinatorEffect, CoordinatorEvent } from '../../services/coordinator/protocol.ts';
import {
  advanceTable,
  receiveChange,
  receiveCount,
  receivePrune,
  startTable,
  type TableState,
  type TableStep,
  tableWakeAtMs,
} from '../../services/coordinator/table-size.ts';
import { Driver } from '../../shared/machine/driver.ts';
import type { TableWatch } from '../../shared/postgres/table-watch.ts';

/** The part of a leader that keeps the count: it polls and prunes as the real one does, by the same machine. */
export class PollingLeader {
  readonly #driver: Driver<TableState, CoordinatorEvent, CoordinatorEffect>;
  #polls = 0;
  #onRows: (rows: number) => void = () => {};

  private constructor(watch: TableWatch, initial: TableState) {
    this.#driver = new Driver<TableState, CoordinatorEvent, CoordinatorEffect>({
      initial,
      step: (state, event, nowMs) => {
        const received = receive(state, event, nowMs);
        const advanced = advanceTable(received.state, nowMs);
        this.#onRows(advanced.state.size.rows);
        const effects = [...received.effects, ...advanced.effects];
        return { state: advanced.state, effects, wakeAtMs: tableWakeAtMs(advanced.state) };
      },
      wake: { kind: 'wake' },
      perform: (effect) => this.#perform(watch, effect),
      onCrash: (error) => {
        throw error;
      },
    });
    this.#driver.dispatch({ kind: 'wake' });
  }

  /** `epoch`: the last one drawn. */
  static async start(watch: TableWatch, epoch: number): Promise<PollingLeader> {
    return new PollingLeader(watch, startTable(await watch.count(), epoch, performance.now()));
  }

  get polls(): number {
    return this.#polls;
  }

  get rows(): number {
    return this.#driver.state.size.rows;
  }

  /** Resolves, with this process's time in ms, as soon as it has counted that many rows. */
  counted(rows: number): Promise<number> {
    return new Promise((resolve) => {
      this.#onRows = (now) => {
        if (now === rows) resolve(performance.now());
      };
      this.#onRows(this.rows);
    });
  }

  stop(): void {
    this.#driver.stop();
  }

  #perform(watch: TableWatch, effect: CoordinatorEffect): Promise<CoordinatorEvent> | null {
    switch (effect.kind) {
      case 'read-changes':
        this.#polls += 1;
        return watch
          .changesSince(effect.since)
          .then((change) => ({ kind: 'table-changed', since: effect.since, change }));
      case 'prune-changes':
        return watch.prune(effect).then(({ isAll }) => ({
          kind: 'table-pruned',
          at: effect.at,
          outcome: isAll ? 'all' : 'some',
        }));
      case 'count-table':
        return watch.count().then((table) => ({ kind: 'table-counted', table }));
      default:
        return null;
    }
  }
}

function receive(state: TableState, event: CoordinatorEvent, nowMs: number): TableStep {
  switch (event.kind) {
    case 'table-changed':
      return receiveChange(state, event.since, event.change, nowMs);
    case 'table-pruned':
      return receivePrune(state, event.at, event.outcome, nowMs);
    case 'table-counted':
      return receiveCount(state, event.table, nowMs);
    default:
      return { state, effects: [], isChanged: false, evidenceMs: null };
  }
}
