/**
 * A stream or bucket of ours, as a process uses it after the start. Streams may be lost, and another application may then
 * create its own under our name. So what stands there is looked at again whenever a write could go into it:
 * - before a write that names no revision of ours,
 * - when the revision that a write named is not the stream's newest,
 * - when the stream did not answer.
 * A foreign stream is reported once and not used until it is gone. That never ends the process: rows go on being ticked.
 */
import type { StreamInfo } from 'nats';
import type { NatsLink } from './connection.ts';
import { type JetStream, useJetStream } from './jetstream.ts';
import { describeNatsError, isPermissionDenied, isStreamMissing } from './nats-errors.ts';
import { type RestoredStream, restoreStream, StreamUnfitError } from './restored-stream.ts';
import { describeForeign, judgeOwnership, nameStream, StreamForeignError } from './stream-ownership.ts';
import type { WantedStream } from './stream-settings.ts';
import { openStream } from './stream-setup.ts';

export class OwnedStream {
  readonly name: string;
  readonly jetStream: JetStream;
  readonly #link: NatsLink;
  readonly #wanted: WantedStream;
  readonly #isReader: boolean;
  /** Why it is not used now. */
  #refusal: StreamForeignError | null = null;
  /** A login may be denied the look: then the stream is taken as it is. */
  #mayLook = true;

  private constructor(
    link: NatsLink,
    { jetStream, wanted, isReader }: { jetStream: JetStream; wanted: WantedStream; isReader: boolean },
  ) {
    this.name = wanted.settings.name;
    this.jetStream = jetStream;
    this.#link = link;
    this.#wanted = wanted;
    this.#isReader = isReader;
  }

  /** Creates it or brings it to its settings. See `openStream` for what it waits for and throws. */
  static async open(link: NatsLink, wanted: WantedStream): Promise<OwnedStream> {
    const jetStream = await useJetStream(link);
    await openStream(link, jetStream, wanted);
    return new OwnedStream(link, { jetStream, wanted, isReader: false });
  }

  /**
   * For a mere reader: takes it as it is, and never creates or changes it. It may be missing.
   * @throws {StreamForeignError} when it is another application's.
   * @throws {StreamUnfitError} when JetStream does not answer.
   */
  static async attach(link: NatsLink, wanted: WantedStream): Promise<OwnedStream> {
    const stream = new OwnedStream(link, { jetStream: await useJetStream(link), wanted, isReader: true });
    try {
      await stream.verify();
    } catch (error) {
      if (error instanceof StreamForeignError) throw error;
      const message = `${nameStream(stream.name)} cannot be read: ${describeNatsError(error)}.`;
      throw new StreamUnfitError(message, { cause: error });
    }
    return stream;
  }

  get isRefused(): boolean {
    return this.#refusal !== null;
  }

  /** @throws {StreamForeignError} when the last look found another application's stream. */
  assertUsable(): void {
    if (this.#refusal !== null) throw this.#refusal;
  }

  /**
   * Where the last look found another application's stream, tries to have ours again. True: it has just been created.
   * @throws {StreamForeignError} while it is another application's; the client's error when nobody can say.
   */
  async lookAgain(): Promise<boolean> {
    if (this.#refusal === null) return false;
    if (!this.#isReader) return (await this.restore()).wasMissing;
    await this.verify();
    return false;
  }

  /**
   * Looks at what stands under our name. A missing stream passes: nothing can be written into it.
   * @throws {StreamForeignError} when it is another application's; the client's error when nobody can say.
   */
  async verify(): Promise<void> {
    if (!this.#mayLook) return;
    const { manager } = this.jetStream;
    let info: StreamInfo;
    try {
      info = await manager.streams.info(this.name);
    } catch (error) {
      if (isPermissionDenied(error)) this.#mayLook = false;
      if (isPermissionDenied(error) || isStreamMissing(error)) return;
      throw error;
    }
    const ownership = await judgeOwnership(this.jetStream, info, this.#wanted);
    if (ownership !== 'foreign') return this.#accept();
    throw this.#refuse(new StreamForeignError([describeForeign(info)], this.#link.names.prefix));
  }

  /** Creates it again where it was lost. @throws see `restoreStream`. */
  async restore(): Promise<RestoredStream> {
    try {
      const restored = await restoreStream(this.#link, this.jetStream, this.#wanted);
      this.#accept();
      return restored;
    } catch (error) {
      throw error instanceof StreamForeignError ? this.#refuse(error) : error;
    }
  }

  #accept(): void {
    if (this.#refusal === null) return;
    this.#refusal = null;
    this.#link.log.info({ stream: this.name }, 'stream is ours again');
  }

  #refuse(refusal: StreamForeignError): StreamForeignError {
    // Once: it is tried again and again.
    if (this.#refusal === null) {
      this.#link.log.error({ stream: this.name, reason: refusal.message }, 'stream of another application not used');
    }
    this.#refusal = refusal;
    return refusal;
  }
}
