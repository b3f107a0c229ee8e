import type { Logger } from 'pino';
import { onLeaveSignal } from './leave-signal.ts';

/** How a service ended: 0, as asked; 1, it cannot go on, and `reason` says what to do. */
export interface EndOfService {
  readonly code: 0 | 1;
  readonly reason: string;
}

/** Errors that waiting cannot mend carry a code of ours; their message says all, a stack trace would only hide it. */
const PLAIN_CODES = new Set(['EADDRINUSE']);

/**
 * Runs a service as this process. SIGTERM and SIGINT ask it to leave, a second one ends it at once with 1, and the service's
 * end becomes the exit code. Never returns before the process is about to exit.
 */
export async function runService(log: Logger, run: (leave: AbortSignal) => Promise<EndOfService>): Promise<void> {
  const leave = new AbortController();
  onLeaveSignal({
    ask: (signal) => {
      log.info({ signal }, 'asked to leave');
      leave.abort();
    },
    force: () => process.exit(1),
  });
  let end: EndOfService;
  try {
    end = await run(leave.signal);
  } catch (error) {
    end = describeFailure(error, { log, wasAsked: leave.signal.aborted });
  }
  if (end.code === 0) log.info({ reason: end.reason }, 'stopped');
  else log.fatal({ reason: end.reason }, 'cannot go on');
  process.exit(end.code);
}

function describeFailure(error: unknown, context: { readonly log: Logger; readonly wasAsked: boolean }): EndOfService {
  if (context.wasAsked) return { code: 0, reason: 'asked to leave before the start was done' };
  if (!(error instanceof Error)) return { code: 1, reason: String(error) };
  const code = 'code' in error ? String(error.code) : '';
  const isPlain = PLAIN_CODES.has(code) || /^[a-z]+(-[a-z]+)+$/.test(code);
  if (!isPlain) context.log.error({ err: error }, 'unexpected error');
  return { code: 1, reason: error.message };
}
