import { pino } from 'pino';
import { loadPrettifier, wantsPretty } from '../../shared/log/pretty.ts';

/** Where the lines of all processes end up. */
export interface Output {
  /** For people on a terminal; otherwise all of stdout is JSON, one object a line. */
  readonly isPretty: boolean;
  /** Passes on one line of a service. What is no log line, such as a crash's stack, goes to stderr with its name. */
  pass(name: string, line: string, stream: 'stdout' | 'stderr'): void;
  /** A block of text for people; nothing where stdout is for machines. */
  say(text: string): void;
}

/** `onClosed` is called when nobody reads stdout any more, as after `npm start | head`. */
export function openOutput(onClosed: () => void): Output {
  const stdout = pino.destination({ dest: 1, sync: true });
  stdout.on('error', onClosed);
  const prettify = wantsPretty(process.env, process.stdout.isTTY) ? loadPrettifier() : null;
  return {
    isPretty: prettify !== null,
    pass: (name, line, stream) => {
      const isLog = stream === 'stdout' && line.startsWith('{');
      if (!isLog) process.stderr.write(`${name}: ${line}\n`);
      else stdout.write(prettify === null ? `${line}\n` : prettify(line));
    },
    say: (text) => {
      if (prettify !== null) stdout.write(text);
    },
  };
}
