import { readdirSync, readFileSync } from 'node:fs';

/** Linux counts processor time in hundredths of a second, whatever its own clock is. */
const TICK_MS = 10;

/**
 * Processor time that a process and its living and ended children have used, ms. Wall-clock rates of a busy machine vary;
 * this does much less. Null where /proc does not tell, as on other systems or for a process elsewhere.
 */
export function cpuMsOfTree(pid: number): number | null {
  const own = readTimes(pid);
  if (own === null) return null;
  const children = listChildren(pid).map((child) => readTimes(child)?.own ?? 0);
  return own.own + own.ended + children.reduce((sum, ms) => sum + ms, 0);
}

/** Resident memory, MB; null where /proc does not tell. */
export function residentMb(pid: number): number | null {
  try {
    const pages = Number(readFileSync(`/proc/${pid}/statm`, 'utf8').split(' ')[1]);
    return (pages * 4096) / 1e6;
  } catch {
    return null;
  }
}

function readTimes(pid: number): { readonly own: number; readonly ended: number } | null {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, 'utf8');
    // The name before it may hold spaces and parentheses.
    const fields = text
      .slice(text.lastIndexOf(')') + 2)
      .split(' ')
      .map(Number);
    const [user = 0, system = 0, endedUser = 0, endedSystem = 0] = fields.slice(11, 15);
    return { own: (user + system) * TICK_MS, ended: (endedUser + endedSystem) * TICK_MS };
  } catch {
    return null;
  }
}

function listChildren(pid: number): number[] {
  try {
    return readdirSync(`/proc/${pid}/task`).flatMap((task) =>
      readFileSync(`/proc/${pid}/task/${task}/children`, 'utf8').split(' ').filter(Boolean).map(Number),
    );
  } catch {
    return [];
  }
}
