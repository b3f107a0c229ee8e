/** A process that does nothing but answer probes: node --import tsx probed-process.ts URL PREFIX ID */
import { pino } from 'pino';
import { connectNats } from '../../shared/nats/connection.ts';
import { serveProbe } from '../../shared/nats/service.ts';

const [url = '', prefix = '', id = ''] = process.argv.slice(2);
const link = await connectNats({ servers: [url], name: id, prefix }, { log: pino({ level: 'silent' }) });
await serveProbe(link, { role: 'worker', id, version: '0.0.0', answer: () => ({ id }) });
