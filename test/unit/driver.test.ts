import assert from 'node:assert/strict';
import { afterEach, beforeEach, describe, it, mock } from 'node:test';
import { Driver, type Perform } from '../../shared/machine/driver.ts';
import { earliest, type Step } from '../../shared/machine/machine.ts';

interface Event {
  readonly name: string;
}
type Effect = string;
type Seen = readonly string[];

/** A machine that remembers its events, and does for each what the script says. */
function makeDriver(options: {
  readonly script?: (event: Event, seen: Seen) => Partial<Step<Seen, Effect>>;
  readonly perform?: Perform<Event, Effect>;
}) {
  const crashes: unknown[] = [];
  const performed: string[] = [];
  const driver = new Driver<Seen, Event, Effect>({
    initial: [],
    step: (seen, event) => {
      const state = [...seen, event.name];
      return { state, effects: [], wakeAtMs: null, ...options.script?.(event, state) };
    },
    wake: { name: 'wake' },
    perform: (effect) => {
      performed.push(effect);
      return options.perform?.(effect) ?? null;
    },
    nowMs: () => Date.now(),
    onCrash: (error) => crashes.push(error),
  });
  return { driver, crashes, performed };
}

const settle = () => new Promise<void>((resolve) => setImmediate(resolve));

describe('driver', () => {
  beforeEach(() => mock.timers.enable({ apis: ['setTimeout', 'Date'] }));
  afterEach(() => mock.timers.reset());

  it('feeds an outcome that comes at once after the step is over, before what came later', () => {
    const { driver } = makeDriver({
      script: (event) => ({ effects: event.name === 'go' ? ['ask', 'tell'] : [] }),
      perform: (effect) => ({ name: `${effect}-done` }),
    });
    driver.dispatch({ name: 'go' });
    driver.dispatch({ name: 'later' });
    assert.deepEqual(driver.state, ['go', 'ask-done', 'tell-done', 'later']);
  });

  it('is not entered twice: an event dispatched during a step waits for its end', () => {
    const { driver, performed } = makeDriver({
      script: (event) => ({ effects: event.name === 'go' ? ['one', 'two'] : [`after ${event.name}`] }),
      perform: (effect) => {
        if (effect === 'one') driver.dispatch({ name: 'inner' });
        return null;
      },
    });
    driver.dispatch({ name: 'go' });
    assert.deepEqual(driver.state, ['go', 'inner']);
    assert.deepEqual(performed, ['one', 'two', 'after inner']);
  });

  it('feeds an outcome that comes later', async () => {
    const { driver } = makeDriver({
      script: (event) => ({ effects: event.name === 'go' ? ['ask', 'hush'] : [] }),
      perform: (effect) => Promise.resolve(effect === 'ask' ? { name: 'answer' } : null),
    });
    driver.dispatch({ name: 'go' });
    await settle();
    assert.deepEqual(driver.state, ['go', 'answer']);
  });

  it('wakes the machine when it asked to, not before, and only for the latest asking', () => {
    const { driver } = makeDriver({ script: (event) => ({ wakeAtMs: event.name === 'wake' ? null : 100.2 }) });
    driver.dispatch({ name: 'one' });
    mock.timers.tick(50);
    driver.dispatch({ name: 'two' });
    mock.timers.tick(50);
    assert.deepEqual(driver.state, ['one', 'two'], 'rounded up: a fraction early would wake it twice');
    mock.timers.tick(1);
    assert.deepEqual(driver.state, ['one', 'two', 'wake']);
    mock.timers.tick(1_000);
    assert.deepEqual(driver.state, ['one', 'two', 'wake']);
  });

  it('sets its timer anew only for another wake-up', () => {
    const set = mock.method(globalThis, 'setTimeout');
    const wakeAtMs: Record<string, number> = { sooner: 50, wake: 150 };
    const { driver } = makeDriver({
      script: (event, seen) => ({ wakeAtMs: seen.length === 7 ? null : (wakeAtMs[event.name] ?? 100) }),
    });
    for (const name of ['one', 'two', 'sooner', 'three', 'four']) driver.dispatch({ name });
    assert.equal(set.mock.callCount(), 3);
    mock.timers.tick(149);
    assert.deepEqual(driver.state, ['one', 'two', 'sooner', 'three', 'four', 'wake']);
    mock.timers.tick(1);
    assert.equal(driver.state.length, 7);
    set.mock.restore();
  });

  it('wakes again a machine that asks for the same time again: a timer may fire before it', () => {
    // Longer than the longest timer there is.
    const atMs = 2 ** 31 + 100;
    const { driver } = makeDriver({ script: (_, seen) => ({ wakeAtMs: seen.length < 3 ? atMs : null }) });
    driver.dispatch({ name: 'one' });
    mock.timers.tick(2 ** 31 - 1);
    assert.deepEqual(driver.state, ['one', 'wake']);
    mock.timers.tick(101);
    assert.deepEqual(driver.state, ['one', 'wake', 'wake']);
  });

  it('a wake-up in the past comes at once', () => {
    const { driver } = makeDriver({
      script: (event) => ({ wakeAtMs: event.name === 'wake' ? null : Number.NEGATIVE_INFINITY }),
    });
    driver.dispatch({ name: 'one' });
    mock.timers.tick(1);
    assert.deepEqual(driver.state, ['one', 'wake']);
  });

  it('ends the process by an exception in a step, and goes no further', () => {
    const { driver, crashes } = makeDriver({
      script: () => {
        throw new Error('a bug');
      },
    });
    driver.dispatch({ name: 'go' });
    driver.dispatch({ name: 'more' });
    assert.deepEqual(crashes, [new Error('a bug')]);
    assert.deepEqual(driver.state, []);
  });

  it('ends the process by an effect that throws or rejects', async () => {
    for (const perform of [
      () => {
        throw new Error('thrown');
      },
      () => Promise.reject(new Error('rejected')),
    ]) {
      const { driver, crashes } = makeDriver({ script: () => ({ effects: ['ask'] }), perform });
      driver.dispatch({ name: 'go' });
      await settle();
      driver.dispatch({ name: 'more' });
      assert.equal(crashes.length, 1);
      assert.deepEqual(driver.state, ['go']);
    }
  });

  it('once stopped drops outcomes under way, waiting events and the wake-up', async () => {
    const { driver } = makeDriver({
      script: () => ({ effects: ['ask', 'stop'], wakeAtMs: 10 }),
      perform: (effect) => {
        if (effect === 'ask') return Promise.resolve({ name: 'answer' });
        driver.dispatch({ name: 'queued' });
        driver.stop();
        return null;
      },
    });
    driver.dispatch({ name: 'go' });
    await settle();
    mock.timers.tick(100);
    driver.dispatch({ name: 'more' });
    assert.deepEqual(driver.state, ['go']);
  });
});

describe('earliest', () => {
  it('is the earliest of the times that are not null', () => {
    assert.equal(earliest(5, null, 3, 9), 3);
    assert.equal(earliest(null, Number.NEGATIVE_INFINITY), Number.NEGATIVE_INFINITY);
    assert.equal(earliest(null, null), null);
    assert.equal(earliest(), null);
  });
});
