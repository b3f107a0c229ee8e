import type { Registry } from 'prom-client';
import { replyReadiness, type Startup } from '../../shared/http/readiness.ts';
import { json, type Reply, type Routes } from '../../shared/http/server.ts';
import { describeError } from '../../shared/process/describe-error.ts';
import { VERSION } from '../../shared/process/version.ts';
import { countDesiredWorkers, type ScalingRule } from './desired-workers.ts';
import { type CoordinatorState, currentSnapshot, findUnready, recentRecoveries } from './machine.ts';
import type { CoordinatorMetrics } from './metrics.ts';

/** What the health endpoints and the API answer from. */
export interface CoordinatorView {
  readonly registry: Registry;
  readonly metrics: CoordinatorMetrics;
  readonly scaling: ScalingRule;
  readonly startup: Startup;
  /** Null: still waiting for the servers. */
  readonly state: () => CoordinatorState | null;
  /** Rows in the table as the leader last published them; null: never. @throws when nobody can say. */
  readonly publishedRows: () => Promise<number | null>;
}

export function makeRoutes(view: CoordinatorView): Routes {
  const { registry, metrics } = view;
  const unready = () => {
    const state = view.state();
    return state === null ? view.startup.describe() : findUnready(state, performance.now());
  };
  const routes: Routes = {
    '/': () =>
      json({
        service: 'notifi-scaler coordinator',
        version: VERSION,
        paths: Object.keys(routes).filter((path) => path !== '/'),
      }),
    '/api/ring': () => showRing(view.state()),
    '/api/recoveries': () => showRecoveries(view.state()),
    '/api/desired-workers': () => showDesiredWorkers(view),
    '/healthz': () => json({ status: 'alive' }),
    '/readyz': () => replyReadiness(unready(), { leading: view.state()?.term != null }),
    '/metrics': async () => {
      metrics.ready.set(unready() === null ? 1 : 0);
      return { contentType: registry.contentType, body: await registry.metrics() };
    },
  };
  return routes;
}

function showRing(state: CoordinatorState | null): Reply {
  const snapshot = state === null ? null : currentSnapshot(state);
  if (snapshot !== null) return json(snapshot);
  return json(
    { error: 'not leading, or nothing published yet; ask the leader (nats kv get coordinators leader)' },
    404,
  );
}

function showRecoveries(state: CoordinatorState | null): Reply {
  const recoveries = state === null ? null : recentRecoveries(state);
  if (recoveries !== null) return json(recoveries);
  return json({ error: 'not leading; ask the leader (nats kv get coordinators leader)' }, 404);
}

/** Whichever coordinator is asked: the leader has counted the rows, a standby reads what the leader published. */
async function showDesiredWorkers({ state, publishedRows, scaling }: CoordinatorView): Promise<Reply> {
  try {
    const rows = state()?.term?.table.size.rows ?? (await publishedRows());
    if (rows !== null) {
      const { rowsPerWorker, minWorkers, maxWorkers } = scaling;
      const desiredWorkers = countDesiredWorkers(rows, scaling);
      return json({ desiredWorkers, rows, rowsPerWorker, minWorkers, maxWorkers });
    }
    return json({ error: 'no leader has counted the rows yet; ask again' }, 503);
  } catch (error) {
    return json({ error: `the rows last counted cannot be read: ${describeError(error)}; ask again` }, 503);
  }
}
