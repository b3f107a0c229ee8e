import { setTimeout as wait } from 'node:timers/promises';
import type { Logger } from 'pino';
import { connectNats, type NatsOptions } from './connection.ts';

export interface DisconnectProofOptions {
  readonly log: Logger;
  /** Of the connections made here, followed by their number. No worker or coordinator may be called so. */
  readonly name: string;
  /** Whether the end of such a connection was told of; once for each beginning. */
  readonly onProof: (isTold: boolean) => void;
}

/** Generous: a machine that is slow for a moment proves nothing, and while it is awaited nothing is taken for certain. */
const LIMIT_MS = 5_000;
const RETRY_MS = 1_000;

/**
 * Proves that lost connections are told of: makes one by the main login, closes it, and waits for the word. To hear in a system
 * account is not enough: servers tell nothing of their default account, nor of another NATS' connections.
 */
export class DisconnectProof {
  readonly #main: NatsOptions;
  readonly #options: DisconnectProofOptions;
  #attempts = 0;
  #awaited: { readonly client: string; readonly tell: () => void } | null = null;
  #ending = new AbortController();

  constructor(main: NatsOptions, options: DisconnectProofOptions) {
    this.#main = main;
    this.#options = options;
  }

  /** To be asked of every client whose end is told of: was it one of those made here? */
  recognises(client: string): boolean {
    if (client === this.#awaited?.client) this.#awaited.tell();
    return client.startsWith(`${this.#options.name}-`);
  }

  /** Tries until it is known, also where the main login cannot connect for now. */
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
    while (!signal.aborted) {
      const isTold = await this.#try(signal).catch(() => null);
      if (signal.aborted) return;
      if (isTold !== null) return this.#options.onProof(isTold);
      await wait(RETRY_MS, undefined, { signal, ref: false }).catch(() => {});
    }
  }

  /** @throws where the main login cannot connect; its own connection says why. */
  async #try(signal: AbortSignal): Promise<boolean> {
    this.#attempts += 1;
    const client = `${this.#options.name}-${this.#attempts}`;
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
