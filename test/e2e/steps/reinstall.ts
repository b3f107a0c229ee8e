import { createHash } from 'node:crypto';
import { type Installation, ROWS } from '../installation.ts';
import { namesOf } from '../pods.ts';
import { expectShares, type Step, type StepContext } from '../step.ts';
import { eventually } from '../waiting.ts';

const GONE_LIMIT_MS = 90_000;

export const reinstall: Step = {
  name: 'reinstall',
  purpose: 'helm uninstall leaves nothing running; the next install goes on with the same rows',
  limitSeconds: 600,
  run: async (context) => {
    const { app } = context;
    const before = await readState(app);
    await app.uninstall();
    await expectNoPods(context);
    await app.install();
    await expectShares(context, 'reinstalled: rows per worker', 3);
    const after = await readState(app);
    const isSame = after.passwords === before.passwords;
    context.expect({
      what: 'reinstalled: the passwords',
      expected: 'the kept ones',
      seen: isSame ? 'the kept ones' : 'others',
      isOk: isSame,
    });
    context.expect({
      what: 'reinstalled: rows',
      expected: `${ROWS}`,
      seen: `${after.rows}`,
      isOk: after.rows === ROWS && before.rows === ROWS,
    });
    context.expect({
      what: 'reinstalled: the sum of values grows on',
      expected: `> ${before.sum}`,
      seen: `${after.sum}`,
      isOk: after.sum > before.sum && before.sum > 0,
    });
  },
};

async function expectNoPods(context: StepContext): Promise<void> {
  const { app } = context;
  let left: string[] = [];
  await eventually(app.cluster, 'the last pod to go', GONE_LIMIT_MS, async () => {
    const pods = await app.pods();
    left = namesOf(pods).map(
      (name) => `${name} (${pods.find(({ metadata }) => metadata.name === name)?.status.phase})`,
    );
    return pods.length === 0 ? true : null;
  });
  const seen = left.length === 0 ? '0' : left.join(', ');
  context.expect({ what: 'pods after helm uninstall', expected: '0', seen, isOk: left.length === 0 });
}

interface State {
  readonly rows: number;
  readonly sum: number;
  /** A digest: the passwords themselves are nobody's to print. */
  readonly passwords: string;
}

async function readState(app: Installation): Promise<State> {
  const [rows, sum] = (await app.query('SELECT count(*), sum(value) FROM public.work_items')).split('|').map(Number);
  const secrets = await app.cluster.read([
    'get',
    'secret',
    app.name('nats'),
    app.name('postgres'),
    '-o',
    'jsonpath={.items[*].data}',
  ]);
  return { rows: rows ?? 0, sum: sum ?? 0, passwords: createHash('sha256').update(secrets).digest('hex') };
}
