import { startNatsServer } from '../../services/local/nats-server.ts';
import { findNatsServer } from '../../services/local/nats-server-source.ts';
import { SILENT } from './bench-postgres.ts';
import { killAtExit, makeScratchFolder, removeScratchFolder } from './scratch-folder.ts';

export interface BenchNats {
  readonly url: string;
  readonly pid: number;
  stop(): Promise<void>;
}

/** An embedded NATS that lives as long as the benchmark. */
export async function openNats(): Promise<BenchNats> {
  const dataDir = await makeScratchFolder('nats');
  const { path } = await findNatsServer({ log: SILENT });
  const server = await startNatsServer({ binary: path, port: 0, dataDir, log: SILENT });
  const spare = killAtExit(server.kill);
  const stop = async () => {
    await server.stop();
    spare();
    removeScratchFolder(dataDir);
  };
  return { url: server.url, pid: server.pid, stop };
}
