import { lastLine, type Outcome } from '../command.ts';
import { compareNames, expectShares, type Step, type StepContext } from '../step.ts';

const PAGE_SECONDS = '4';
const SNAPSHOT = /"version":\s*\d+/;

export const natsBox: Step = {
  name: 'nats-box',
  purpose: 'the ring and the living workers by the nats CLI, without typing credentials',
  limitSeconds: 240,
  run: async (context) => {
    await expectLivenessKeys(context);
    const newest = await context.app.nats(['stream', 'get', 'RING', '--last-for', 'ring.snapshot']);
    expectSnapshot(context, 'nats stream get RING --last-for ring.snapshot', newest);
    await expectHistory(context);
    const services = await context.app.nats(['micro', 'ls']);
    const kinds = ['coordinator', 'worker'].filter((kind) => new RegExp(`\\b${kind}\\b`).test(services.stdout));
    context.expect({
      what: 'nats micro ls',
      expected: 'coordinator, worker',
      seen: kinds.join(', ') || describe(services),
      isOk: kinds.length === 2,
    });
    await expectSubscription(context);
  },
};

async function expectLivenessKeys(context: StepContext): Promise<void> {
  const { app } = context;
  const answer = await app.nats(['kv', 'ls', 'workers']);
  const workers = await app.servingPods('worker');
  const keys = answer.stdout.split(/\s+/).filter((word) => word.startsWith(app.name('worker')));
  context.expect({
    what: 'nats kv ls workers',
    ...(answer.code === 0
      ? compareNames('serving workers', workers, keys)
      : { expected: 'the serving workers', seen: describe(answer), isOk: false }),
  });
}

async function expectHistory(context: StepContext): Promise<void> {
  const { app } = context;
  const replay = 'nats sub ring.snapshot --stream RING --all --terminate-at-end';
  expectSnapshots(context, replay, await app.nats(replay.split(' ').slice(1)));
  // This one insists on a terminal, and at a page's end waits for a key: what it showed by then counts.
  const view = 'nats stream view RING';
  const box = `deployment/${app.name('nats-box')}`;
  const inTerminal = await app.exec(box, ['timeout', PAGE_SECONDS, 'script', '-qc', view, '/dev/null']);
  if (/\bscript\b.*(not found|No such file)/i.test(inTerminal.stderr))
    context.tell(view, 'not tried: the image has no `script`');
  else expectSnapshots(context, `${view}, in a terminal`, inTerminal);
}

/** A ring that is published while somebody listens. */
async function expectSubscription(context: StepContext): Promise<void> {
  const { app } = context;
  const heard = app.nats(['sub', 'ring.snapshot', '--count', '1']);
  // Should the scaling fail, its error is the one to tell; the subscription ends with the step.
  heard.catch(() => {});
  await app.scaleTo(4);
  expectSnapshot(context, 'nats sub ring.snapshot --count 1, while a worker joins', await heard);
  await expectShares(context, 'rows per worker, with the fourth', 4);
  await app.scaleTo(3);
  await expectShares(context, 'rows per worker, without it', 3);
}

function expectSnapshots(context: StepContext, what: string, answer: Outcome): void {
  const found = [...answer.stdout.matchAll(new RegExp(SNAPSHOT, 'g'))].length;
  const seen = found > 0 ? `${found} snapshots` : describe(answer);
  context.expect({ what, expected: 'snapshots', seen, isOk: found > 0 });
}

function expectSnapshot(context: StepContext, what: string, answer: Outcome): void {
  const [found] = SNAPSHOT.exec(answer.stdout) ?? [];
  context.expect({ what, expected: 'a snapshot', seen: found ?? describe(answer), isOk: found !== undefined });
}

function describe({ code, stdout, stderr }: Outcome): string {
  return `exit code ${code}: ${lastLine(stderr || stdout)}`;
}
