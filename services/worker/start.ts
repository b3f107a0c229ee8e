import { makeLogger } from '../../shared/log/logger.ts';
import { optionsOrExit } from '../../shared/options/program.ts';
import { runService } from '../../shared/process/run-service.ts';
import { workerProgram } from './options.ts';
import { runWorker } from './worker.ts';

const options = await optionsOrExit(workerProgram);
const log = makeLogger({ level: options.logLevel, base: { worker: options.workerId } });
await runService(log, (leave) => runWorker(options, log, leave));
