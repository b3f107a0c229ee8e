import { readHandovers, slowestHandoverMs } from '../handover.ts';
import { audited, expectShares, type Step, type StepContext } from '../step.ts';

export const upgrade: Step = {
  name: 'upgrade',
  purpose: 'helm upgrade to five workers, to two, back to three, with not a tick missed',
  limitSeconds: 480,
  run: (context) =>
    scaleThrough(context, [5, 2, 3], {
      what: 'helm upgrade',
      scaleTo: (workers) => context.app.upgrade([`worker.replicaCount=${workers}`]),
    }),
};

export const scale: Step = {
  name: 'scale',
  purpose: 'kubectl scale to six workers, to one, back to three, with not a tick missed',
  limitSeconds: 480,
  run: (context) =>
    scaleThrough(context, [6, 1, 3], {
      what: 'kubectl scale',
      scaleTo: (workers) => context.app.scaleTo(workers),
    }),
};

function scaleThrough(
  context: StepContext,
  sizes: readonly number[],
  way: { readonly what: string; readonly scaleTo: (workers: number) => Promise<void> },
): Promise<void> {
  return audited(context, `${way.what} to ${sizes.join(', ')}`, { mayMiss: false }, async () => {
    for (const workers of sizes) {
      const sinceMs = await context.app.nowMs();
      await way.scaleTo(workers);
      const what = `${way.what} to ${workers}`;
      await expectShares(context, `${what}: rows per worker`, workers);
      await expectMinimalMoves(context, what, sinceMs);
    }
  });
}

/** Each of the rings that led there moved no more rows than it had to. */
async function expectMinimalMoves(context: StepContext, what: string, sinceMs: number): Promise<void> {
  const handovers = readHandovers(await context.app.ringLogs(sinceMs));
  const minimum = handovers.map(({ minimumRows }) => minimumRows);
  const moved = handovers.map(({ movedRows }) => movedRows);
  context.expect({
    what: `${what}: rows moved, ring by ring`,
    expected: minimum.join(', '),
    seen: moved.join(', ') || 'no ring was published',
    isOk: moved.length > 0 && moved.every((rows, index) => rows === minimum[index]),
  });
  const slowest = slowestHandoverMs(handovers);
  if (slowest !== null) context.tell(`${what}: slowest ring, published to last applied`, `${slowest} ms`);
}
