import type { Recovery } from '../../shared/ring/recovery.ts';
import type { ServiceProcess } from './service-process.ts';

/** What a process has counted of missed ticks since its start. */
export async function missedBy(service: ServiceProcess): Promise<number> {
  const line = await service.waitFor('its port', ({ msg }) => /^serving .*health and metrics$/.test(msg ?? ''));
  const metrics = await (await fetch(`http://127.0.0.1:${line.port}/metrics`)).text();
  const counted = metrics.matchAll(/^notifi_scaler_\w+_missed_ticks_total(?:\{[^}]*\})? (\d+)$/gm);
  return [...counted].reduce((sum, [, value]) => sum + Number(value), 0);
}

/** What the leader's records say, from its log. */
export function missedInRecoveries(leader: ServiceProcess, from: number): number {
  const records = leader.lines.slice(from).filter(({ msg }) => msg === 'recovered') as unknown as Recovery[];
  return records.reduce((sum, { missed }) => sum + missed, 0);
}
