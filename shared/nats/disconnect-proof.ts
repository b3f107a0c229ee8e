import { randomUUID } from 'node:crypto';
import { setTimeout as wait } from 'node:timers/promises';
import type { Logger } from 'pino';
import { describeError } from '../process/describe-error.ts';
import { connectNats, type NatsOptions } from './connection.ts';

export interface DisconnectProofOptions {
  readonly log: Logger;
  /** Of the connections made here, with more behind it. No worker or coordinator may be called so. */
  readonly name: string;
  /** The end of such a connection was told of. */
  readonly onProof: () => void;
  /** It was not, or no such connection could be made; tried again all the same. Once for each beginning. */
  readonly onDoubt: (reason: string) => void;
}

/** Generous: a machine that is slow for a moment proves nothing, and while it is awaited nothing is taken for certain. */
const LIMIT_MS = 5_000;
const RETRY_FIRST_MS = 1_000;
/** A cluster's servers find each other late after a restart: what one is told of, another may not have known yet. */
const RETRY_LONGEST_MS = 30_000;
const UNTOLD = 'let workers and coordinators use a named account of the NATS that --nats-system belongs to';

/**
 * Proves that lost connections are told of: makes one by the main login, closes it, and waits for the word. To hear in a system
 * account is not enough: servers of old tell nothing of their default account, and none of another NATS' connections.
 */
export class DisconnectProof {
  readonly #main: Omit<NatsOptions, 'name'>;
  readonly #options: DisconnectProofOptions;
  #awaited: { readonly client: string; readonly tell: () => void } | null = null;
  #ending = new AbortController();

  constructor(main: Omit<NatsOptions, 'name'>, options: DisconnectProofOptions) {
    this.#main = main;
    this.#options = options;
  }

  /** To be asked of every client whose end is told of: was it one of those made here? */
  recognises(client: string): boolean {
    if (client === this.#awaited?.client) this.#awaited.tell();
    return client.startsWith(`${this.#options.name}-`);
  }

  /** Tries until it is proven. */
  begin(): void {
    this.end();
    this.#ending = new AbortController();
    void this.#prove(this.#ending.signal);
  }

  /** Nothing more is told. */
  end(): void {
    this.#ending.abort();
  }

  async #prove(signal: AbortSignal): Promise<void> {
    for (let pauseMs = RETRY_FIRST_MS; ; pauseMs = Math.min(2 * pauseMs, RETRY_LONGEST_MS)) {
      const doubt = await this.#try(signal).then(
        (isTold) => (isTold ? null : UNTOLD),
        (error) => `no connection could be made to see whether they are: ${describeError(error)}`,
      );
      if (signal.aborted) return;
      if (doubt === null) return this.#options.onProof();
      if (pauseMs === RETRY_FIRST_MS) this.#options.onDoubt(doubt);
      await wait(pauseMs, undefined, { signal, ref: false }).catch(() => {});
      if (signal.aborted) return;
    }
  }

  /** @throws where the main login cannot connect. */
  async #try(signal: AbortSignal): Promise<boolean> {
    // Whoever is called like this process, in another account or before it, proves nothing here.
    const client = `${this.#options.name}-${randomUUID()}`;
    const told = new Promise<true>((resolve) => {
      this.#awaited = { client, tell: () => resolve(true) };
    });
    const silent = this.#options.log.child({}, { level: 'silent' });
    const patience = AbortSignal.any([signal, AbortSignal.timeout(LIMIT_MS)]);
    const link = await connectNats({ ...this.#main, name: client }, { log: silent, signal: patience });
    await link.drain();
    return Promise.race([told, wait(LIMIT_MS, false, { signal, ref: false })]);
  }
}
