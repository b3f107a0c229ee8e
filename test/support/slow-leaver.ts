/** A service that never finishes its leave, and says twenty times a second that it lives: node --import tsx slow-leaver.ts */
import { makeLogger } from '../../shared/log/logger.ts';
import { runService } from '../../shared/process/run-service.ts';

const log = makeLogger({ level: 'info', base: {} });
await runService(log, () => {
  setInterval(() => log.info('alive'), 50);
  return new Promise(() => {});
});
