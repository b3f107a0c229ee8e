import { Violation } from './violation.ts';
import type { World } from './world.ts';

const EVERY_MS = 250;
/** A leader reads the stream's newest message every five seconds, and has a second for the answer and one to publish. */
const LONGEST_MS = 7_500;

/** A snapshot that no leader made does not stay the stream's newest while a leader is well. */
export class ForgeryCheck {
  readonly #world: World;
  #sinceMs: number | null = null;

  constructor(world: World) {
    this.#world = world;
  }

  begin(): void {
    this.#check();
    this.#world.timeline.after(EVERY_MS, () => this.begin());
  }

  #check(): void {
    const { nats, forged, timeline, calmSinceMs } = this.#world;
    const { snapshot } = nats.ring.newest;
    const isForged = snapshot !== null && forged.has(snapshot) && calmSinceMs <= timeline.nowMs;
    if (!isForged || !this.#isLed()) {
      this.#sinceMs = null;
      return;
    }
    this.#sinceMs ??= timeline.nowMs;
    const forMs = timeline.nowMs - this.#sinceMs;
    if (forMs <= LONGEST_MS) return;
    const { epoch, version } = snapshot;
    throw new Violation(`a forged snapshot has been in force for ${forMs} ms: (${epoch}, ${version})`);
  }

  /** By a leader that can see the stream and Postgres. */
  #isLed(): boolean {
    const { nats, postgres, liveCoordinators } = this.#world;
    if (postgres.isDown || postgres.isReadOnly || nats.leaderless.size > 0) return false;
    return liveCoordinators.some(
      (node) => node.state.term !== null && !node.isInTrouble && this.#world.reachesNats(node),
    );
  }
}
