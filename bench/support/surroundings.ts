import { cpus, release, totalmem } from 'node:os';

/** What a result was measured on: without it no figure says anything. */
export interface Surroundings {
  readonly at: string;
  readonly command: string;
  readonly node: string;
  readonly system: string;
  readonly processor: string;
  readonly cores: number;
  readonly memoryGb: number;
}

/** @param command as a person types it: "npm run bench:ticks". */
export function describeSurroundings(command: string): Surroundings {
  const processors = cpus();
  return {
    at: new Date().toISOString(),
    command: [command, ...(process.argv.length > 2 ? ['--', ...process.argv.slice(2)] : [])].join(' '),
    node: process.version,
    system: `${process.platform} ${release()}`,
    processor: processors[0]?.model ?? 'unknown',
    cores: processors.length,
    memoryGb: Math.round(totalmem() / 2 ** 30),
  };
}

/** One line for a page. */
export function formatSurroundings(around: Surroundings): string {
  const { cores, processor, memoryGb, node, system, at, command } = around;
  return `\`${command}\`, ${at.slice(0, 10)}: ${cores} cores (${processor}), ${memoryGb} GB, ${system}, Node ${node}.`;
}
