import {
  advanceWatch,
  NO_TROUBLE,
  noteAnswer,
  noteRequest,
  type TroubleReport,
  type Watch,
  type WatchStep,
  watchWakeAtMs,
} from './trouble.ts';

/** One watch for each server that a service depends on, fed with what the service's machine takes in and asks for. */
export type Watches<Server extends string> = Readonly<Record<Server, Watch>>;

export interface Answer<Server extends string> {
  readonly from: Server;
  /** What was asked for: the kind of the effect. */
  readonly what: string;
  /** Null: it succeeded. */
  readonly reason: string | null;
}

/** A failure whose reason was not passed on. */
export const UNKNOWN_REASON = 'failed for a reason unknown';

/** Builds the answers of one server. */
export function answersFrom<Server extends string>(from: Server) {
  return (what: string, reason: string | null): Answer<Server> => ({ from, what, reason });
}

export function startWatches<Server extends string>(servers: readonly Server[]): Watches<Server> {
  return Object.fromEntries(servers.map((server) => [server, NO_TROUBLE])) as Record<Server, Watch>;
}

/** Takes in one step of a machine: the answers that it received, then the time, then the requests that it sends. */
export function advanceWatches<Server extends string, Effect extends { readonly kind: string }>(
  before: Watches<Server>,
  step: {
    readonly answers: readonly Answer<Server>[];
    readonly effects: readonly Effect[];
    /** Null: the effect asks no server, or one that may take its time. */
    readonly askedBy: (effect: Effect) => Server | null;
  },
  nowMs: number,
): { readonly watches: Watches<Server>; readonly reports: readonly (TroubleReport & { readonly server: Server })[] } {
  const watches: Record<Server, Watch> = { ...before };
  const reports: (TroubleReport & { readonly server: Server })[] = [];
  const take = (server: Server, { watch, report }: WatchStep) => {
    watches[server] = watch;
    if (report !== null) reports.push({ ...report, server });
  };
  for (const { from, ...answer } of step.answers) take(from, noteAnswer(watches[from], answer, nowMs));
  for (const server of Object.keys(watches) as Server[]) take(server, advanceWatch(watches[server], nowMs));
  for (const effect of step.effects) {
    const server = step.askedBy(effect);
    if (server !== null) watches[server] = noteRequest(watches[server], effect.kind, nowMs);
  }
  return { watches, reports };
}

export function watchesWakeAtMs(watches: Watches<string>): readonly (number | null)[] {
  return Object.values(watches).map(watchWakeAtMs);
}
