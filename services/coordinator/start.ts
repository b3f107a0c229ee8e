import { makeLogger } from '../../shared/log/logger.ts';
import { optionsOrExit } from '../../shared/options/program.ts';
import { runService } from '../../shared/process/run-service.ts';
import { runCoordinator } from './coordinator.ts';
import { coordinatorProgram } from './options.ts';

const options = await optionsOrExit(coordinatorProgram);
const log = makeLogger({ level: options.logLevel, base: { coordinator: options.coordinatorId } });
await runService(log, (leave) => runCoordinator(options, log, leave));
