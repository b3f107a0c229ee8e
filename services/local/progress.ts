import type { Logger } from 'pino';

/** Longer than this without a word looks like a hang. */
const SILENCE_LIMIT_MS = 2_000;
const REPEAT_MS = 10_000;

/** Says what is being waited for when it takes longer than two seconds, and again every ten. */
export async function sayWhileWaiting<T>(log: Logger, what: string, work: Promise<T>): Promise<T> {
  const startedMs = performance.now();
  const say = () => {
    log.info({ seconds: Math.round((performance.now() - startedMs) / 1000) }, `${what} …`);
    timer = setTimeout(say, REPEAT_MS);
  };
  let timer = setTimeout(say, SILENCE_LIMIT_MS);
  try {
    return await work;
  } finally {
    clearTimeout(timer);
  }
}
