/** Longer than this without a word looks like a hang. */
const SILENCE_LIMIT_MS = 2_000;
const REPEAT_MS = 10_000;
const LONGEST_CHARS = 110;

/** What is going on, for the person who waits: lines on stderr. */
export interface Progress {
  say(text: string): void;
  /** Passes on what `work` comes to, and names it when it takes longer than two seconds, then every ten. */
  during<T>(what: string, work: Promise<T>): Promise<T>;
}

export function makeProgress(write: (line: string) => void): Progress {
  return { say: (text) => write(`${text}\n`), during };

  async function during<T>(what: string, work: Promise<T>): Promise<T> {
    const startedMs = performance.now();
    const shown = what.length > LONGEST_CHARS ? `${what.slice(0, LONGEST_CHARS)}…` : what;
    const say = () => {
      write(`  ${Math.round((performance.now() - startedMs) / 1000)} s: ${shown}\n`);
      timer = setTimeout(say, REPEAT_MS);
    };
    let timer = setTimeout(say, SILENCE_LIMIT_MS);
    try {
      return await work;
    } finally {
      clearTimeout(timer);
    }
  }
}
