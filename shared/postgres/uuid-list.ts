/** Sixteen bytes a uuid, and a text only for those that somebody wants to see: a worker may watch a quarter of a million. */
const BYTES = 16;

export class UuidList {
  readonly #bytes: Buffer;

  /** Uuids one after the other, as `uuid_send` writes them. */
  constructor(bytes: Buffer) {
    this.#bytes = bytes;
  }

  get length(): number {
    return this.#bytes.length / BYTES;
  }

  /** As an array's. */
  slice(start = 0, end = this.length): string[] {
    const texts: string[] = [];
    for (let index = start; index < Math.min(end, this.length); index += 1) texts.push(this.#textAt(index));
    return texts;
  }

  #textAt(index: number): string {
    const hex = this.#bytes.toString('hex', index * BYTES, (index + 1) * BYTES);
    return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20)}`;
  }
}
