/**
 * Keeps the messages of other installations out: of another database or table, whose services use our names in NATS.
 * A message without an identity is let through: services of former versions send none, and run beside ours during an upgrade.
 */
import type { Logger } from 'pino';
import * as z from 'zod';

export type ForeignKind = 'applied' | 'leader' | 'liveness' | 'probe' | 'snapshot';

/** What a message carries. */
export interface Tag {
  readonly installation?: string;
}

/** A database's and a table's name have up to 63 characters each, of up to 4 bytes. */
const IDENTITY_MAX = 1_024;
/** Any client that may publish can invent identities. */
const MOST_REPORTED = 16;

export const installationField = z.exactOptional(z.string().max(IDENTITY_MAX));

export class InstallationGate {
  readonly #log: Logger;
  readonly #prefix: string;
  #own: string | null = null;
  /** The own one, and those that this process had before: the others change theirs a few seconds earlier or later. */
  readonly #admitted = new Set<string>();
  readonly #reported = new Set<string>();
  #onForeign: (kind: ForeignKind) => void = () => {};

  constructor(log: Logger, prefix: string) {
    this.#log = log;
    this.#prefix = prefix;
  }

  /** Null: it is not known, so every message is let through. */
  get own(): string | null {
    return this.#own;
  }

  /** What every message of ours is to carry. */
  get tag(): Tag {
    return this.#own === null ? {} : { installation: this.#own };
  }

  /** From now on messages carry this identity. */
  become(identity: string): void {
    if (identity === this.#own) return;
    if (this.#own !== null) this.#log.warn({ from: this.#own, to: identity }, 'identity of the installation changed');
    this.#own = identity;
    this.#admitted.add(identity);
  }

  /** Called for every message that is rejected. */
  onForeign(count: (kind: ForeignKind) => void): void {
    this.#onForeign = count;
  }

  isForeign({ installation }: Tag): boolean {
    return installation !== undefined && this.#own !== null && !this.#admitted.has(installation);
  }

  /** False: it is to be dropped. Each one is counted, each installation reported once. */
  admits(kind: ForeignKind, message: Tag): boolean {
    if (!this.isForeign(message)) return true;
    this.#onForeign(kind);
    const { installation: foreign = '' } = message;
    if (this.#reported.has(foreign) || this.#reported.size >= MOST_REPORTED) return false;
    this.#reported.add(foreign);
    this.#log.error(
      { kind, own: this.#own, foreign, prefix: this.#prefix },
      'message of another installation rejected: both use the same names in NATS; give one of them another --nats-prefix',
    );
    return false;
  }
}

const tagSchema = z.looseObject({ installation: installationField });

/** Of any message of ours; empty where it is none. */
export function readTag(bytes: Uint8Array): Tag {
  try {
    const { installation } = tagSchema.parse(JSON.parse(new TextDecoder().decode(bytes)));
    return installation === undefined ? {} : { installation };
  } catch {
    return {};
  }
}
