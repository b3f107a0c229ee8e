import { type Installation, ROWS } from '../installation.ts';
import { readWatching } from '../log-lines.ts';
import { countRestarts } from '../pods.ts';
import { evenShares, type Step, type StepContext } from '../step.ts';
import { eventually } from '../waiting.ts';
import { judgeWatching, type WatchedSeconds } from '../watching.ts';

const READY_LIMIT_SECONDS = 60;
const WORKERS = 3;
const SECONDS = 5;
const WATCH_LIMIT_MS = 60_000;

export const install: Step = {
  name: 'install',
  purpose: 'one command installs everything; three workers share thirty rows',
  limitSeconds: 480,
  run: async (context) => {
    const startedMs = performance.now();
    await context.app.install();
    const seconds = (performance.now() - startedMs) / 1000;
    context.expect({
      what: 'helm install without values until all is ready',
      expected: `< ${READY_LIMIT_SECONDS} s`,
      seen: `${seconds.toFixed(1)} s`,
      isOk: seconds < READY_LIMIT_SECONDS,
    });
    await expectWatching(context);
    const restarts = countRestarts(await context.app.pods());
    context.expect({ what: 'restarts of any pod', expected: '0', seen: `${restarts}`, isOk: restarts === 0 });
  },
};

/** What a person sees who reads the workers' logs side by side for five seconds. */
async function expectWatching(context: StepContext): Promise<void> {
  const seen = await watch(context.app);
  if (seen === null) {
    const expected = `${SECONDS} seconds of ${WORKERS} workers`;
    return context.expect({ what: "the workers' logs", expected, seen: 'less than that', isOk: false });
  }
  const counts = Object.values(seen.shares);
  const expected = evenShares(ROWS, WORKERS);
  const yesOrNo = (isOk: boolean) => ({ expected: 'yes', seen: isOk ? 'yes' : 'no', isOk });
  context.expect({
    what: 'ids that each worker logs',
    expected: expected.join(', '),
    seen: counts.join(', '),
    isOk: counts.every((count, index) => count === expected[index]) && counts.length === WORKERS,
  });
  const [first, last] = [seen.ticks.at(0), seen.ticks.at(-1)];
  context.expect({
    what: `each worker has one line for each of ${SECONDS} seconds`,
    ...yesOrNo(seen.isEverySecond),
    ...(seen.isEverySecond && { seen: `ticks ${first} to ${last}` }),
  });
  context.expect({ what: 'the ids are sorted', ...yesOrNo(seen.isSorted) });
  context.expect({ what: 'the lists are the same each second', ...yesOrNo(seen.isSteady) });
  context.expect({ what: 'no id is on two lists', ...yesOrNo(seen.isDisjoint) });
  context.expect({ what: 'ids on all lists', expected: `${ROWS}`, seen: `${seen.ids}`, isOk: seen.ids === ROWS });
}

/** The first five seconds that are as they should be; else the newest there were. */
async function watch(app: Installation): Promise<WatchedSeconds | null> {
  let newest: WatchedSeconds | null = null;
  await eventually(app.cluster, `${SECONDS} steady seconds in the workers' logs`, WATCH_LIMIT_MS, async () => {
    const workers = await app.servingPods('worker');
    if (workers.length === 0) return null;
    const lines = readWatching(await app.logs('worker', { tail: 4 * SECONDS }));
    newest = judgeWatching(lines, { workers, seconds: SECONDS }) ?? newest;
    return newest?.isSteady && newest.isEverySecond && newest.ids === ROWS ? newest : null;
  });
  return newest;
}
