/**
 * What a worker may be called. Its id is a token of NATS subjects (`worker.<id>.probe`), a key of the liveness bucket
 * and a label in metrics, so it must mean the same in all of them: no dots, no wildcards, no spaces.
 */

export const WORKER_ID_PATTERN = /^[A-Za-z0-9][A-Za-z0-9_-]{0,127}$/;

const LENGTH_MAX = 128;

/** Why an id cannot be used, with what to do about it; null when it is fine. */
export function describeBadWorkerId(id: string): string | null {
  if (WORKER_ID_PATTERN.test(id)) return null;
  if (id === '') return 'the worker id is empty: give one of letters, digits, "-" and "_"';
  if (id.length > LENGTH_MAX) {
    return `the worker id ${JSON.stringify(`${id.slice(0, 20)}…`)} has ${id.length} characters: use at most ${LENGTH_MAX}`;
  }
  const stranger = /[^A-Za-z0-9_-]/u.exec(id);
  if (stranger === null)
    return `the worker id ${JSON.stringify(id)} begins with "${id[0]}": begin with a letter or a digit`;
  const advice = stranger[0] === '.' ? ', for example with "-" in its place' : '';
  return `the worker id ${JSON.stringify(id)} contains ${JSON.stringify(stranger[0])}: use only letters, digits, "-" and "_"${advice}`;
}

/**
 * The id for a process that was given none, from its pod's or host's name: these may have dots, and 253 characters. What is
 * cut off is their beginning, since pods of one owner differ in their ends.
 */
export function makeWorkerId(name: string): string {
  const id = name
    .replace(/[^A-Za-z0-9_-]/gu, '-')
    .slice(-LENGTH_MAX)
    .replace(/^[^A-Za-z0-9]+/, '');
  return id === '' ? 'unnamed' : id;
}
