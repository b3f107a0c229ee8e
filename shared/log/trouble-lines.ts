import type { Logger } from 'pino';
import type { TroubleReport } from '../machine/trouble.ts';

const TEXTS = {
  Postgres: ['Postgres requests fail; trying again', 'Postgres requests succeed again'],
  NATS: ['NATS requests fail; trying again', 'NATS requests succeed again'],
  table: ['the table or schema scaler is damaged', 'the table and schema scaler are sound again'],
} as const;

/** One line when a trouble begins and one when it ends: what happens in between is in `/readyz`. */
export function logTrouble(
  log: Logger,
  report: TroubleReport & { readonly server: keyof typeof TEXTS },
  more: Readonly<Record<string, number>> = {},
): void {
  const { server, reason } = report;
  const [began, ended] = TEXTS[server];
  if (report.kind === 'trouble-began') return log.warn({ what: report.what, reason }, began);
  const { failures, tookMs } = report;
  log.info({ failures, tookMs: Math.round(tookMs), reason, ...more }, ended);
}
