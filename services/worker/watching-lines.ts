import { createHash } from 'node:crypto';
import type { Logger } from 'pino';
import type { WorkerMetrics } from './metrics.ts';
import type { Ids, WorkerReport } from './protocol.ts';

/** Container runtimes split longer lines; an id with its quotes and comma takes 39 bytes. */
const LINE_BYTES = 16 * 1024;
const ENVELOPE_BYTES = 512;
const ID_BYTES = 39;
export const IDS_PER_LINE = Math.floor((LINE_BYTES - ENVELOPE_BYTES) / ID_BYTES);
/** Between two lots of parts the process does what else is to be done. */
const PARTS_AT_ONCE = 8;
const ROOM_RETRY_MS = 10;

export interface WatchingLineOptions {
  readonly log: Logger;
  readonly metrics: WorkerMetrics;
  /** Longer lists are printed when they change; between changes only their count and checksum. */
  readonly logIdsMax: number;
  /** How the log's reader keeps up: behind, it gets less; without room, it gets it later. */
  readonly output: { readonly isBehind: boolean; readonly hasRoom: boolean };
}

type Watching = Extract<WorkerReport, { kind: 'watching' }>;

/**
 * Says each second which ids are watched (DESIGN §8): in one line, in parts, or where there are too many, or the log's reader
 * is slow, by their count and checksum. A log must never delay a tick: long lists are printed in lots, as the reader takes
 * them, and one that has fallen behind gets the whole list once it has caught up.
 */
export class WatchingLines {
  readonly #options: WatchingLineOptions;
  /** A changed list that is still to be printed. */
  #isOwed = false;
  #isShortening = false;
  /** The list of which parts are still to be printed. */
  #printing: Ids | null = null;

  constructor(options: WatchingLineOptions) {
    this.#options = options;
  }

  print(report: Watching): void {
    const { output, logIdsMax } = this.#options;
    const isLong = report.ids.length > logIdsMax;
    this.#isOwed ||= report.isChanged;
    // Its parts are on their way already.
    if (this.#printing === report.ids) return isLong ? this.#printChecksum(report) : this.#shorten(report);
    // What is left of another list is outdated.
    this.#printing = null;
    if (output.isBehind) return this.#shorten(report);
    this.#isShortening = false;
    if (isLong && !this.#isOwed) return this.#printChecksum(report);
    this.#isOwed = false;
    this.#printing = report.ids;
    this.#printParts(report, 1);
  }

  #printParts(report: Watching, from: number): void {
    const { log, output } = this.#options;
    const { ids, tick, ring } = report;
    const count = ids.length;
    const parts = Math.max(1, Math.ceil(count / IDS_PER_LINE));
    const end = Math.min(parts, from + PARTS_AT_ONCE - 1);
    for (let part = from; part <= end; part += 1) {
      const some = ids.slice((part - 1) * IDS_PER_LINE, part * IDS_PER_LINE);
      log.info({ tick, ring, count, ...(parts === 1 ? {} : { part, parts }), ids: some }, 'watching');
    }
    if (end === parts) this.#printing = null;
    else if (output.hasRoom) setImmediate(() => this.#goOn(report, end + 1));
    else setTimeout(() => this.#goOn(report, end + 1), ROOM_RETRY_MS).unref();
  }

  #goOn(report: Watching, part: number): void {
    if (this.#printing !== report.ids) return;
    if (this.#options.output.hasRoom) this.#printParts(report, part);
    else setTimeout(() => this.#goOn(report, part), ROOM_RETRY_MS).unref();
  }

  #shorten(report: Watching): void {
    const { log, metrics } = this.#options;
    // A list that is on its way need not be printed again.
    this.#isOwed ||= this.#printing === null;
    metrics.shortenedLists.inc();
    if (!this.#isShortening) log.warn('stdout is slow: ids are left out, until it has caught up');
    this.#isShortening = true;
    this.#printChecksum(report);
  }

  #printChecksum({ tick, ring, ids }: Watching): void {
    this.#options.log.info({ tick, ring, count: ids.length, checksum: checksumOf(ids) }, 'watching');
  }
}

/** The lists are frozen once read, so each is hashed once however often it is printed. */
const checksums = new WeakMap<Ids, string>();

/** Of the ids, one a line. */
function checksumOf(ids: Ids): string {
  const known = checksums.get(ids);
  if (known !== undefined) return known;
  const hash = createHash('sha256');
  for (let from = 0; from < ids.length; from += IDS_PER_LINE) {
    hash.update(`${from === 0 ? '' : '\n'}${ids.slice(from, from + IDS_PER_LINE).join('\n')}`);
  }
  const checksum = hash.digest('hex').slice(0, 16);
  checksums.set(ids, checksum);
  return checksum;
}
