import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import {
  advanceWatch,
  CALM_MS,
  describeTrouble,
  NO_TROUBLE,
  noteAnswer,
  noteRequest,
  SILENCE_MS,
  type TroubleReport,
  type Watch,
  watchWakeAtMs,
} from '../../shared/machine/trouble.ts';

/** Drives one watch as a machine does, and keeps what it reports. */
class Watched {
  watch: Watch = NO_TROUBLE;
  readonly reports: TroubleReport[] = [];

  ask(what: string, nowMs: number): void {
    this.watch = noteRequest(this.watch, what, nowMs);
  }

  answer(what: string, reason: string | null, nowMs: number): void {
    this.#take(noteAnswer(this.watch, { what, reason }, nowMs));
  }

  pass(nowMs: number): void {
    this.#take(advanceWatch(this.watch, nowMs));
  }

  #take({ watch, report }: ReturnType<typeof advanceWatch>): void {
    this.watch = watch;
    if (report !== null) this.reports.push(report);
  }
}

describe('the watch on a server', () => {
  test('reports a trouble when it begins and when it ends, whatever fails in between', () => {
    const it = new Watched();
    for (let nowMs = 0; nowMs <= 10_000; nowMs += 250) it.answer('tick', `refused at ${nowMs}`, nowMs);
    it.answer('claim', 'refused', 10_000);
    it.answer('tick', null, 10_250);
    it.pass(10_250 + CALM_MS);
    assert.equal(it.reports.length, 1, 'claims still fail');
    it.answer('claim', null, 14_000);
    it.pass(14_000 + CALM_MS - 1);
    assert.deepEqual(it.reports, [{ kind: 'trouble-began', what: 'tick', reason: 'refused at 0' }]);
    it.pass(14_000 + CALM_MS);
    assert.deepEqual(it.reports[1], { kind: 'trouble-ended', reason: 'refused', failures: 42, tookMs: 14_000 });
  });

  test('takes a fault that comes and goes each second for one trouble', () => {
    const it = new Watched();
    for (let nowMs = 0; nowMs < 20_000; nowMs += 1_000) {
      it.answer('tick', 'lock timeout', nowMs);
      it.answer('tick', null, nowMs + 50);
    }
    assert.equal(it.reports.length, 1);
    it.pass(19_050 + CALM_MS);
    assert.deepEqual(it.reports[1], { kind: 'trouble-ended', reason: 'lock timeout', failures: 20, tookMs: 19_050 });
  });

  test('begins a trouble when a request has had no answer for two seconds, dated back to the request', () => {
    const it = new Watched();
    it.ask('tick', 1_000);
    assert.equal(watchWakeAtMs(it.watch), 1_000 + SILENCE_MS);
    it.pass(1_000 + SILENCE_MS - 1);
    assert.equal(it.reports.length, 0);
    it.pass(1_000 + SILENCE_MS);
    assert.deepEqual(it.reports, [{ kind: 'trouble-began', what: 'tick', reason: 'no answer for 2.0 s' }]);
    assert.equal(watchWakeAtMs(it.watch), null, 'a silence asks for no further wake-up');
    assert.deepEqual(describeTrouble(it.watch, 9_500), { reason: 'no answer for 8.5 s', sinceMs: 1_000 });
    it.answer('tick', 'did not answer', 11_500);
    assert.deepEqual(describeTrouble(it.watch, 11_500), { reason: 'did not answer', sinceMs: 1_000 });
    it.answer('tick', null, 12_000);
    assert.equal(describeTrouble(it.watch, 12_000), null);
    it.pass(12_000 + CALM_MS);
    assert.deepEqual(it.reports[1], {
      kind: 'trouble-ended',
      reason: 'did not answer',
      failures: 1,
      tookMs: 11_000,
    });
  });

  test('begins no trouble when requests are answered, one after the other or several at once', () => {
    const it = new Watched();
    for (let nowMs = 0; nowMs < 30_000; nowMs += 1_000) {
      it.ask('tick', nowMs);
      it.ask('tick', nowMs);
      it.answer('tick', null, nowMs + 900);
      it.answer('tick', null, nowMs + 950);
    }
    it.pass(60_000);
    assert.deepEqual(it.reports, []);
    assert.equal(watchWakeAtMs(it.watch), null);
  });

  test('forgets a failed request that nobody repeats, but not one that is under way', () => {
    const it = new Watched();
    it.answer('claim', 'refused', 0);
    const wakeAtMs = watchWakeAtMs(it.watch);
    assert.ok(wakeAtMs !== null && wakeAtMs > 10_000);
    it.pass(wakeAtMs);
    it.pass(wakeAtMs + CALM_MS);
    assert.deepEqual(
      it.reports.map(({ kind }) => kind),
      ['trouble-began', 'trouble-ended'],
    );
  });

  test('never asks for a wake-up in the past', () => {
    const it = new Watched();
    it.ask('tick', 0);
    it.answer('clock', 'refused', 0);
    it.answer('claim', 'refused', 0);
    it.ask('claim', 0);
    for (let nowMs = 0, wakes = 0; nowMs < 60_000; wakes += 1) {
      const atMs = watchWakeAtMs(it.watch);
      if (atMs === null) break;
      assert.ok(atMs > nowMs && wakes < 10, `wake-up ${wakes} at ${atMs}, now ${nowMs}`);
      nowMs = atMs;
      it.pass(nowMs);
    }
  });
});
