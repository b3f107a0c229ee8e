import type { LogLine } from './log-lines.ts';

/** A ring's way as the logs of coordinators and workers tell it. Pure. */
export interface Handover {
  readonly ring: number;
  readonly cause: string;
  readonly publishedAtMs: number;
  /** When the last of the workers that gained slots had applied it; null where no log says so. */
  readonly appliedAtMs: number | null;
  readonly movedRows: number;
  readonly minimumRows: number;
}

/** The rings that were published, in order of time. */
export function readHandovers(lines: readonly LogLine[]): Handover[] {
  const applied = lines.filter(({ msg, gained }) => msg === 'ring applied' && Number(gained) > 0);
  return lines
    .filter(({ msg }) => msg === 'ring published')
    .map((line) => {
      const moved = line.moved as { readonly rows: number; readonly minimumRows: number };
      const times = applied.filter(({ ring }) => ring === line.ring).map(({ atMs }) => atMs);
      return {
        ring: Number(line.ring),
        cause: String(line.cause),
        publishedAtMs: line.atMs,
        appliedAtMs: times.length === 0 ? null : Math.max(...times),
        movedRows: moved.rows,
        minimumRows: moved.minimumRows,
      };
    });
}

/** The longest way from a decision to its last claim; null where no ring gave anybody slots. */
export function slowestHandoverMs(handovers: readonly Handover[]): number | null {
  const times = handovers.flatMap(({ publishedAtMs, appliedAtMs }) =>
    appliedAtMs === null ? [] : [appliedAtMs - publishedAtMs],
  );
  return times.length === 0 ? null : Math.max(...times);
}

/**
 * How far another clock is ahead of this one, asked between two readings of this one. Within them it may be right, and
 * counts as right: the asking itself takes longer than clocks that are kept by NTP differ.
 */
export function clockOffsetMs(asked: {
  readonly beforeMs: number;
  readonly theirsMs: number;
  readonly afterMs: number;
}): number {
  const { beforeMs, theirsMs, afterMs } = asked;
  if (theirsMs < beforeMs) return theirsMs - beforeMs;
  return theirsMs > afterMs ? theirsMs - afterMs : 0;
}
