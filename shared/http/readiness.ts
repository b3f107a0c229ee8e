import type { Unready } from '../machine/trouble.ts';
import { json, type Reply } from './server.ts';

/** What a service waits for until its machine runs. */
export class Startup {
  /** Monotonic ms. */
  readonly #sinceMs = performance.now();
  #step = 'nothing reached yet';

  /** The latest, in words. */
  readonly note = (step: string): void => {
    this.#step = step;
  };

  describe(): Unready {
    return { reason: `starting: ${this.#step}`, sinceMs: this.#sinceMs };
  }
}

/** The answer of `/readyz`: 200, or 503 with the reason and since when. `more`: fields of both. */
export function replyReadiness(unready: Unready | null, more: object): Reply {
  if (unready === null) return json({ ready: true, ...more });
  const since = new Date(Date.now() - (performance.now() - unready.sinceMs)).toISOString();
  return json({ ready: false, reason: unready.reason, since, ...more }, 503);
}
