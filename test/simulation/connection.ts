/** Keeps the order of what goes by it, there and back. */
export class Connection {
  #askedMs = 0;
  #answeredMs = 0;

  /** When it arrives that would, alone, at `timeMs`. */
  askAtMs(timeMs: number): number {
    this.#askedMs = Math.max(this.#askedMs, timeMs);
    return this.#askedMs;
  }

  answerAtMs(timeMs: number): number {
    this.#answeredMs = Math.max(this.#answeredMs, timeMs);
    return this.#answeredMs;
  }
}
