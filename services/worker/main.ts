import { onLeaveSignal } from '../../shared/process/leave-signal.ts';

// Everything else takes most of a second to load. Nothing has begun in that time, so a signal ends the process at once.
onLeaveSignal({ ask: () => process.exit(0), force: () => {} });
await import('./start.ts');
