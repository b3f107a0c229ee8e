import { onLeaveSignal } from '../../shared/process/leave-signal.ts';

// Until everything else is loaded, no server or service runs that would have to be ended first.
onLeaveSignal({ ask: () => process.exit(0), force: () => {} }, ['SIGTERM', 'SIGINT', 'SIGHUP']);
await import('./start.ts');
