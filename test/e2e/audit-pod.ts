import { parseAllDocuments } from 'yaml';
import type { AuditResult } from '../../services/cli/audit-log.ts';
import { lastLine } from './command.ts';
import type { Installation } from './installation.ts';
import type { Pod } from './pods.ts';
import { expectSoon } from './waiting.ts';

/** Longer than any step; it is asked to end before. */
const LONGEST_SECONDS = 3_600;
const START_LIMIT_MS = 60_000;
const END_LIMIT_MS = 30_000;
const AUDIT = ['node', 'dist/services/cli/main.js', 'audit', '--json', '--seconds', String(LONGEST_SECONDS)];

/**
 * The project's own audit in a pod of its own, which nothing that is scaled, restarted or killed touches: it watches the
 * table in Postgres from its start until it is asked what it saw.
 */
export class AuditPod {
  readonly #app: Installation;
  readonly #name: string;

  private constructor(app: Installation, name: string) {
    this.#app = app;
    this.#name = name;
  }

  /** Returns when it has taken its first samples: what happens from now on is seen. */
  static async start(app: Installation): Promise<AuditPod> {
    const audit = new AuditPod(app, `${app.release}-e2e-audit`);
    const { cluster } = app;
    // The chart's own test pod, so that it has the release's servers, table and passwords.
    const hooks = parseAllDocuments(await cluster.readHelm(['get', 'hooks', app.release]));
    const hook = hooks.map((one) => one.toJS() as AuditManifest | null).find((one) => one?.kind === 'Pod');
    if (hook == null) throw new Error(`the release ${app.release} has no test pod that audits`);
    await audit.#remove();
    await cluster.read(['create', '-f', '-'], JSON.stringify(asAudit(hook, audit.#name)));
    await expectSoon(cluster, 'the audit to begin', START_LIMIT_MS, async () => {
      const { stdout } = await cluster.kubectl(['logs', audit.#name]);
      return / rows, \d+ missed, \d+ double$/m.test(stdout) ? true : null;
    });
    return audit;
  }

  /** Ends the audit: what it saw, from its start until now. */
  async finish(): Promise<AuditResult> {
    const { cluster } = this.#app;
    await cluster.read(['exec', this.#name, '--', 'sh', '-c', 'kill -TERM 1']);
    const text = await expectSoon(cluster, "the audit's result", END_LIMIT_MS, async () => {
      const { stdout } = await cluster.kubectl(['logs', this.#name, '--tail=1']);
      return lastLine(stdout).startsWith('{') ? lastLine(stdout) : null;
    });
    await this.#remove();
    return JSON.parse(text);
  }

  async #remove(): Promise<void> {
    await this.#app.cluster.read(['delete', 'pod', this.#name, '--ignore-not-found', '--grace-period=1']);
  }
}

interface AuditManifest extends Pod {
  readonly kind: string;
  readonly spec: Pod['spec'] & { readonly containers: readonly object[] };
}

/** Without the hook's annotations: helm must neither run nor remove it. */
function asAudit(pod: AuditManifest, name: string): object {
  const { labels } = pod.metadata;
  const containers = pod.spec.containers.map((container) => ({ ...container, command: AUDIT }));
  return { ...pod, metadata: { name, labels }, spec: { ...pod.spec, containers } };
}
