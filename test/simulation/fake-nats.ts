import type { Liveness } from '../../shared/nats/liveness.ts';
import type { Snapshot } from '../../shared/ring/snapshot.ts';

interface Entry<Value> {
  readonly value: Value;
  readonly revision: number;
  readonly storedMs: number;
}

/** A KV bucket with TTL: keys that expire vanish without a word, as with the real one. */
export class FakeBucket<Value> {
  readonly #entries = new Map<string, Entry<Value>>();
  readonly #ttlMs: number;
  #sequence = 0;

  constructor(ttlMs: number) {
    this.#ttlMs = ttlMs;
  }

  get(key: string, nowMs: number): Entry<Value> | null {
    const entry = this.#entries.get(key);
    if (entry === undefined) return null;
    if (nowMs - entry.storedMs <= this.#ttlMs) return entry;
    this.#entries.delete(key);
    return null;
  }

  keys(nowMs: number): string[] {
    return [...this.#entries.keys()].filter((key) => this.get(key, nowMs) !== null);
  }

  /** Expected revision null: the key must not exist. Returns the new revision, or null when refused. */
  put(
    key: string,
    value: Value,
    expected: { readonly revision: number | null; readonly nowMs: number },
  ): number | null {
    const current = this.get(key, expected.nowMs);
    if ((current?.revision ?? null) !== expected.revision) return null;
    this.#sequence += 1;
    this.#entries.set(key, { value, revision: this.#sequence, storedMs: expected.nowMs });
    return this.#sequence;
  }

  /** Returns the deletion's revision, or null when the key's revision is another. */
  delete(key: string, expected: { readonly revision: number; readonly nowMs: number }): number | null {
    if (this.get(key, expected.nowMs)?.revision !== expected.revision) return null;
    this.#entries.delete(key);
    this.#sequence += 1;
    return this.#sequence;
  }

  lose(): void {
    this.#entries.clear();
  }

  /** Deleted, and created again: its revisions begin again. */
  recreate(): void {
    this.lose();
    this.#sequence = 0;
  }
}

/** The snapshot stream: appends only at the expected sequence. */
export class FakeStream {
  readonly messages: { readonly sequence: number; readonly snapshot: Snapshot }[] = [];
  #sequence = 0;

  get newest(): { readonly sequence: number; readonly snapshot: Snapshot | null } {
    return this.messages.at(-1) ?? { sequence: 0, snapshot: null };
  }

  publish(snapshot: Snapshot, expectedSequence: number): number | null {
    return this.newest.sequence === expectedSequence ? this.append(snapshot) : null;
  }

  /** Whoever may publish to the subject need not say what it expects. */
  append(snapshot: Snapshot): number {
    this.#sequence += 1;
    this.messages.push({ sequence: this.#sequence, snapshot });
    return this.#sequence;
  }

  lose(): void {
    this.messages.length = 0;
  }

  /** Deleted, and restored without its newest messages, or created again empty: the same sequences come again. */
  restore(lost: number): void {
    this.messages.length = Math.max(0, this.messages.length - lost);
    this.#sequence = this.newest.sequence;
  }
}

export type StreamName = 'liveness' | 'leadership' | 'ring';

export interface FakeNats {
  isDown: boolean;
  /** Streams that have no leader just now: they answer nothing and store nothing. */
  readonly leaderless: Set<StreamName>;
  readonly liveness: FakeBucket<Liveness>;
  readonly leadership: FakeBucket<{ readonly id: string; readonly epoch: number; readonly startedAt: string }>;
  readonly ring: FakeStream;
}
