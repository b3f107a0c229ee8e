import type { Level, Logger, LoggerOptions } from 'pino';
import { pino } from 'pino';
import { loadPrettifier, wantsPretty } from './pretty.ts';
import { openStdout } from './stdout.ts';

export interface LogOptions {
  readonly level: Level | 'silent';
  /** Fields of every line: who speaks, such as `{ worker: 'worker-7c9f-aaa' }`. */
  readonly base: Readonly<Record<string, string>>;
}

/**
 * Writes to stdout, at once where there is room, so that the last line before an exit is not lost: JSON, or for people on a
 * terminal or with LOG_FORMAT=pretty (LOG_FORMAT=json: never). A reader that goes away ends the logging, not the service; one
 * that stands still costs lines, which are counted, but never makes the service wait.
 */
export function makeLogger(options: LogOptions): Logger {
  const stdout = openStdout((lines) => log.warn({ lines }, 'stdout was too slow: log lines were dropped'));
  const prettify = wantsPretty(process.env, process.stdout.isTTY) ? loadPrettifier() : null;
  const settings: LoggerOptions = {
    level: options.level,
    base: options.base,
    timestamp: pino.stdTimeFunctions.isoTime,
    formatters: { level: (label) => ({ level: label }) },
    hooks: { logMethod: putMessageFirst },
  };
  const log = pino(settings, { write: (line) => stdout.write(prettify === null ? line : prettify(line)) });
  return log;
}

/** pino writes a line's message after its fields; as the first of the fields it comes where a person looks for it. */
const putMessageFirst: NonNullable<NonNullable<LoggerOptions['hooks']>['logMethod']> = function (args, method) {
  const [fields, msg, ...inserts] = args as unknown as [unknown, unknown, ...unknown[]];
  const isPlain = typeof fields === 'object' && fields !== null && typeof msg === 'string' && inserts.length === 0;
  if (!isPlain) return method.apply(this, args);
  const merged = fields instanceof Error ? { msg, err: fields } : Object.assign({ msg }, fields, { msg });
  method.apply(this, [merged] as unknown as typeof args);
};
