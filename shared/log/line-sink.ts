/**
 * Where log lines go when whoever reads them may be slow, or stand still. Writing never waits: what the reader has not taken
 * is queued, and beyond a limit dropped and counted. Lines keep their order, and are never cut.
 */
export interface LineSinkOptions {
  /**
   * Writes as much as can be written at once.
   * @returns the bytes written; 0 when there is no room just now; null when nobody reads any more.
   */
  readonly write: (bytes: Buffer) => number | null;
  /** After lines were dropped, once the queue is empty again. */
  readonly onRecovered: (droppedLines: number) => void;
  readonly mostQueuedBytes?: number;
}

interface Waiting {
  readonly bytes: Buffer;
  readonly sinceMs: number;
}

const MOST_QUEUED_BYTES = 8 * 1024 * 1024;
const RETRY_MS = 5;
/** A pipe holds 64 kB: any reader needs a moment for more. */
const BEHIND_AFTER_MS = 300;
const ROOM_BYTES = 256 * 1024;

export class LineSink {
  readonly #options: LineSinkOptions;
  #queue: Waiting[] = [];
  #queuedBytes = 0;
  #dropped = 0;
  #isClosed = false;
  #timer: NodeJS.Timeout | null = null;

  constructor(options: LineSinkOptions) {
    this.#options = options;
  }

  /** The reader is slow: a line has been waiting for it for a while. */
  get isBehind(): boolean {
    const oldest = this.#queue[0];
    return oldest !== undefined && performance.now() - oldest.sinceMs > BEHIND_AFTER_MS;
  }

  /** Whether much may be written now; else better a little later. */
  get hasRoom(): boolean {
    return this.#queuedBytes < ROOM_BYTES;
  }

  write(line: string): void {
    if (this.#isClosed) return;
    const bytes = Buffer.from(line);
    if (this.#queuedBytes + bytes.length > (this.#options.mostQueuedBytes ?? MOST_QUEUED_BYTES)) {
      this.#dropped += 1;
      return;
    }
    this.#queue.push({ bytes, sinceMs: performance.now() });
    this.#queuedBytes += bytes.length;
    // What waits is tried again by the timer alone: a try for each line would cost the most when there is no time.
    if (this.#timer === null) this.#drain();
  }

  /** For a process's end: waits for the reader, at most so long. Blocks. */
  flush(limitMs: number): void {
    const endMs = performance.now() + limitMs;
    for (;;) {
      this.#writeQueued();
      if (this.#queue.length === 0 || performance.now() > endMs) return;
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, RETRY_MS);
    }
  }

  #drain(): void {
    this.#writeQueued();
    if (this.#queue.length > 0) {
      this.#timer = setTimeout(() => this.#drain(), RETRY_MS);
      // Whoever has nothing else to do may end; `flush` writes the rest.
      this.#timer.unref();
      return;
    }
    this.#timer = null;
    if (this.#dropped === 0) return;
    const dropped = this.#dropped;
    this.#dropped = 0;
    this.#options.onRecovered(dropped);
  }

  #writeQueued(): void {
    let done = 0;
    for (const { bytes, sinceMs } of this.#queue) {
      const written = this.#options.write(bytes);
      if (written === null) return this.#close();
      this.#queuedBytes -= written;
      if (written < bytes.length) {
        this.#queue = [{ bytes: bytes.subarray(written), sinceMs }, ...this.#queue.slice(done + 1)];
        return;
      }
      done += 1;
    }
    this.#queue = [];
  }

  #close(): void {
    this.#isClosed = true;
    this.#queue = [];
    this.#queuedBytes = 0;
  }
}
