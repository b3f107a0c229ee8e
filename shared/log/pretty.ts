import { createRequire } from 'node:module';
import type { PrettyOptions } from 'pino-pretty';

/** Turns one JSON line of a log into what a person reads, with its line end; other lines come back as they are. */
export type Prettifier = (line: string) => string;

export function wantsPretty(environment: NodeJS.ProcessEnv, isTerminal: boolean | undefined): boolean {
  if (environment.LOG_FORMAT === 'pretty') return true;
  return isTerminal === true && environment.LOG_FORMAT !== 'json';
}

/** The names under which a log line says who speaks. */
const SPEAKERS = ['worker', 'coordinator', 'service'];

/** Null where pino-pretty is not installed, as in images. Colours only on a terminal, and not under NO_COLOR. */
export function loadPrettifier(): Prettifier | null {
  const factory = loadFactory();
  if (factory === null) return null;
  return factory({
    colorize: process.stdout.isTTY === true && !process.env.NO_COLOR,
    singleLine: true,
    translateTime: 'SYS:HH:MM:ss.l',
    ignore: SPEAKERS.join(','),
    messageFormat: (log, messageKey) => {
      const speaker = SPEAKERS.map((name) => log[name]).find((name) => typeof name === 'string');
      const message = String(log[messageKey] ?? '');
      return speaker === undefined ? message : `${speaker}: ${message}`;
    },
  });
}

function loadFactory(): ((options: PrettyOptions) => Prettifier) | null {
  try {
    return createRequire(import.meta.url)('pino-pretty').prettyFactory;
  } catch {
    return null;
  }
}
