import { writeSync } from 'node:fs';
import { LineSink } from './line-sink.ts';

/** A reader that stands still must not keep a process from ending for longer than this. */
const LAST_WORDS_LIMIT_MS = 3_000;

let sink: LineSink | null = null;

/** This process's stdout. What was written last is out before the process ends, where its reader takes it. */
export function openStdout(onRecovered: (droppedLines: number) => void): LineSink {
  makeNonBlocking();
  const opened = new LineSink({ write: writeToStdout, onRecovered });
  process.once('exit', () => opened.flush(LAST_WORDS_LIMIT_MS));
  sink = opened;
  return opened;
}

/** How this process's log fares with its reader; all well before it is opened. */
export const stdoutState: Pick<LineSink, 'isBehind' | 'hasRoom'> = {
  get isBehind() {
    return sink?.isBehind ?? false;
  },
  get hasRoom() {
    return sink?.hasRoom ?? true;
  },
};

/**
 * Node makes a pipe on stdout blocking, so that a reader that stands still would stop this process too. Its handle is the
 * only way to say otherwise. Files never block for long, and a terminal is shared with others.
 */
function makeNonBlocking(): void {
  if (process.stdout.isTTY) return;
  type Handle = { readonly setBlocking?: (isBlocking: boolean) => number };
  const { _handle: handle } = process.stdout as unknown as { readonly _handle?: Handle };
  handle?.setBlocking?.(false);
}

function writeToStdout(bytes: Buffer): number | null {
  try {
    return writeSync(1, bytes);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    return code === 'EAGAIN' ? 0 : null;
  }
}
