import type { Cluster } from './cluster.ts';
import { type List, namesOf, type Pod } from './pods.ts';

const EVENTS = 20;
const LOG_LINES = 8;
/** Read, so that enough is left without the lines of each second. */
const LOG_TAIL = 600;
const LINE_CHARS = 320;

/** After a failure: what a person would look at next. Tells what it can get, and fails at nothing. */
export async function diagnose(cluster: Cluster): Promise<string> {
  const pods = await ask(['get', 'pods', '-o', 'wide']);
  const events = await ask(['get', 'events', '--sort-by=.lastTimestamp']);
  const parts = [`pods:\n${pods}`, `newest events:\n${excerpt(events, EVENTS)}`];
  for (const name of await listPods(cluster)) {
    const args = ['logs', name, `--tail=${LOG_TAIL}`, '--all-containers'];
    parts.push(`log of ${name}:\n${excerpt(withoutSeconds(await ask(args)), LOG_LINES)}`);
    const before = await cluster.kubectl([...args, '--previous']);
    if (before.code === 0) {
      parts.push(`log of ${name} before its restart:\n${excerpt(withoutSeconds(before.stdout), LOG_LINES)}`);
    }
  }
  return parts.join('\n\n');

  async function ask(args: readonly string[]): Promise<string> {
    const { stdout, stderr } = await cluster.kubectl(args);
    return stdout || stderr;
  }
}

async function listPods(cluster: Cluster): Promise<string[]> {
  const { code, stdout } = await cluster.kubectl(['get', 'pods', '-o', 'json']);
  return code === 0 ? namesOf((JSON.parse(stdout) as List<Pod>).items) : [];
}

/** A worker's list of each second would bury what is looked for. */
function withoutSeconds(log: string): string {
  return log
    .split('\n')
    .filter((line) => !line.includes('"msg":"watching"'))
    .join('\n');
}

/** The last lines, none too long to be read. */
function excerpt(text: string, count: number): string {
  const lines = text.trim().split('\n').slice(-count);
  return lines.map((line) => (line.length > LINE_CHARS ? `${line.slice(0, LINE_CHARS)}…` : line)).join('\n');
}
