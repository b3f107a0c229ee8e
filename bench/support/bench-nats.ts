import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { startNatsServer } from '../../services/local/nats-server.ts';
import { findNatsServer } from '../../services/local/nats-server-source.ts';
import { SILENT } from './bench-postgres.ts';

export interface BenchNats {
  readonly url: string;
  readonly pid: number;
  stop(): Promise<void>;
}

/** An embedded NATS that lives as long as the benchmark. */
export async function openNats(): Promise<BenchNats> {
  const dataDir = await mkdtemp(join(tmpdir(), 'notifi-scaler-bench-nats-'));
  const { path } = await findNatsServer({ log: SILENT });
  const server = await startNatsServer({ binary: path, port: 0, dataDir, log: SILENT });
  const stop = async () => {
    await server.stop();
    await rm(dataDir, { recursive: true, force: true });
  };
  return { url: server.url, pid: server.pid, stop };
}
