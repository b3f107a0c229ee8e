import type { List } from '../pods.ts';
import { hasToken, namesOf } from '../pods.ts';
import type { Step, StepContext } from '../step.ts';

const TOKEN_FOLDER = '/var/run/secrets/kubernetes.io';
const RIGHTS = /^kind: ((?:Cluster)?Role(?:Binding)?|ServiceAccount)$/gm;

export const apiAccess: Step = {
  name: 'api-access',
  purpose: 'no pod could ask the Kubernetes API, and nothing grants it a right',
  limitSeconds: 120,
  run: async (context) => {
    await expectNoRights(context);
    const pods = await context.app.pods();
    const open = namesOf(pods.filter(hasToken));
    context.expect({
      what: 'pods with a service-account token',
      expected: `0 of ${pods.length}`,
      seen: open.length === 0 ? `0 of ${pods.length}` : open.join(', '),
      isOk: open.length === 0 && pods.length > 0,
    });
    await expectNoTokenFile(context);
  },
};

/** Neither in the release's manifest, cluster-wide ones included, nor in the namespace. */
async function expectNoRights(context: StepContext): Promise<void> {
  const { cluster, release } = context.app;
  const manifest = await cluster.readHelm(['get', 'manifest', release]);
  const rendered = [...manifest.matchAll(RIGHTS)].map(([, kind]) => kind);
  context.expect({
    what: 'roles, bindings and service accounts of the release',
    expected: '0',
    seen: rendered.join(', ') || '0',
    isOk: rendered.length === 0,
  });
  const { items } = await cluster.readJson<List<{ readonly metadata: Named }>>(['get', 'role,rolebinding']);
  const own = items.map(({ metadata }) => metadata).filter((one) => belongsTo(one, release));
  const seen = own.map(({ name }) => name).join(', ') || '0';
  context.expect({ what: 'kubectl get role,rolebinding: of the release', expected: '0', seen, isOk: own.length === 0 });
}

interface Named {
  readonly name: string;
  readonly labels?: Readonly<Record<string, string>>;
}

function belongsTo({ name, labels }: Named, release: string): boolean {
  return name.startsWith(release) || labels?.['app.kubernetes.io/instance'] === release;
}

async function expectNoTokenFile(context: StepContext): Promise<void> {
  const { app } = context;
  // A shell that says so itself: a failing exec could as well mean that nothing was looked at.
  const script = `test -e ${TOKEN_FOLDER} && echo there || echo absent`;
  const { stdout, stderr } = await app.exec(`deployment/${app.name('worker')}`, ['sh', '-c', script]);
  const seen = stdout.trim() || stderr.trim();
  context.expect({ what: `${TOKEN_FOLDER} in a worker`, expected: 'absent', seen, isOk: seen === 'absent' });
}
