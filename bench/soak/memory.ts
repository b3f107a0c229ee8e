import { readFile } from 'node:fs/promises';
import { type MemorySample, type MemoryTrend, trendOf } from './slope.ts';

export interface ProcessMemory extends MemoryTrend {
  readonly name: string;
  readonly pid: number;
}

interface Life {
  readonly name: string;
  readonly pid: number;
  readonly samples: MemorySample[];
}

/** Resident memory of processes, over each one's life. */
export class Memory {
  readonly #lives = new Map<number, Life>();

  async sample(processes: readonly { readonly name: string; readonly pid: number }[], atMs: number): Promise<void> {
    for (const { name, pid } of processes) {
      const bytes = await readResidentBytes(pid);
      if (bytes === null) continue;
      const life = this.#lives.get(pid) ?? { name, pid, samples: [] };
      life.samples.push({ atMs, bytes });
      this.#lives.set(pid, life);
    }
  }

  /** The trends of those processes that lived for at least that share of the span. */
  result({ spanMs, share }: { readonly spanMs: number; readonly share: number }): ProcessMemory[] {
    const long = [...this.#lives.values()].filter(({ samples }) => lifeMs(samples) >= share * spanMs);
    const trends = long.flatMap(({ name, pid, samples }) => {
      const trend = trendOf(samples);
      return trend === null ? [] : [{ name, pid, ...trend }];
    });
    return trends.sort((a, b) => a.name.localeCompare(b.name, 'en', { numeric: true }));
  }
}

function lifeMs(samples: readonly MemorySample[]): number {
  return (samples.at(-1)?.atMs ?? 0) - (samples[0]?.atMs ?? 0);
}

/** From /proc: null where the system has none, or the process has just ended. */
async function readResidentBytes(pid: number): Promise<number | null> {
  try {
    const kilobytes = /^VmRSS:\s+(\d+) kB$/m.exec(await readFile(`/proc/${pid}/status`, 'utf8'))?.[1];
    return kilobytes === undefined ? null : Number(kilobytes) * 1024;
  } catch {
    return null;
  }
}
