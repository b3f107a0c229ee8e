/**
 * A long run under faults: `npm run soak -- --minutes 60`. It ends by itself, or in order with Ctrl-C, and then leaves
 * nothing behind.
 *
 * Real servers, real services, each service behind network of its own that can be cut. A seeded plan kills, freezes, cuts off and
 * restarts; the table is audited from outside all the while, and the processes' memory is read. Exit code 1 when a row
 * was ticked twice, a process ended unasked, or the system did not come to rest afterwards. Missed ticks are counted by fault.
 */
import { writeFileSync } from 'node:fs';
import { optionsOrExit } from '../shared/options/program.ts';
import { soakProgram } from './soak/options.ts';
import { describeSoak } from './soak/report.ts';
import { runSoak } from './soak/soak.ts';

const options = await optionsOrExit(soakProgram);
const end = new AbortController();
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => end.abort());

const say = (line: string) => void process.stdout.write(`${line}\n`);
const result = await runSoak(options, { signal: end.signal, say });
say(`\n${describeSoak(result)}`);
if (options.json !== undefined) writeFileSync(options.json, `${JSON.stringify(result, null, 2)}\n`);
process.exit(result.failures.length === 0 ? 0 : 1);
