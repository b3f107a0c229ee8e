import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import {
  advanceCare,
  careWakeAtMs,
  describeDamage,
  isBeingMended,
  NO_CARE,
  receiveCheck,
  receiveMending,
  type TableCare,
} from '../../services/coordinator/table-care.ts';
import { type AdoptionFindings, type AdoptionVerdict, judgeAdoption } from '../../shared/postgres/adoption-check.ts';

const SOUND: AdoptionVerdict = { kind: 'sound' };
const GONE: AdoptionVerdict = { kind: 'mendable', what: 'schema', reason: 'schema scaler is gone' };

function kinds(state: TableCare, how: { mayMend: boolean; nowMs: number }): string[] {
  return advanceCare(state, { knownEpoch: 7, ...how }).effects.map(({ kind }) => kind);
}

function check(state: TableCare, verdict: AdoptionVerdict | null, nowMs: number): TableCare {
  const asked = advanceCare(state, { mayMend: false, knownEpoch: 7, nowMs }).state;
  return receiveCheck(asked, { kind: 'table-checked', verdict }, nowMs);
}

describe('the care of the table', () => {
  test('checks one at a time, again after a pause, and sooner when Postgres does not answer', () => {
    const asked = advanceCare(NO_CARE, { mayMend: false, knownEpoch: 7, nowMs: 0 });
    assert.deepEqual(asked.effects, [{ kind: 'check-table' }]);
    assert.deepEqual(kinds(asked.state, { mayMend: true, nowMs: 60_000 }), []);
    const sound = check(NO_CARE, SOUND, 10);
    const unanswered = check(NO_CARE, null, 10);
    const [soundAtMs, unansweredAtMs] = [sound, unanswered].map((care) => careWakeAtMs(care, { mayMend: false }));
    assert.ok(soundAtMs! > unansweredAtMs! && unansweredAtMs! > 10);
    assert.deepEqual(kinds(sound, { mayMend: true, nowMs: soundAtMs! - 1 }), []);
    assert.deepEqual(kinds(sound, { mayMend: true, nowMs: soundAtMs! }), ['check-table']);
  });

  test('mends what can be mended, only where it may, one attempt at a time', () => {
    const damaged = check(NO_CARE, GONE, 10);
    assert.deepEqual(kinds(damaged, { mayMend: false, nowMs: 10 }), []);
    const mending = advanceCare(damaged, { mayMend: true, knownEpoch: 7, nowMs: 10 });
    assert.deepEqual(mending.effects, [{ kind: 'mend-table', what: 'schema', above: 7 }]);
    assert.equal(isBeingMended(mending.state), true);
    assert.ok(!kinds(mending.state, { mayMend: true, nowMs: 60_000 }).includes('mend-table'));
    const outcome = { kind: 'mended', what: 'schema', slots: 4 } as const;
    const mended = receiveMending(mending.state, { kind: 'table-mended', outcome }, 20);
    assert.equal(describeDamage(mended), null);
    assert.deepEqual(kinds(mended, { mayMend: true, nowMs: 20 }), ['check-table'], 'it looks whether that is so');
  });

  test('keeps the remedy of a refusal until the table is sound, and tries again after a pause', () => {
    const mending = advanceCare(check(NO_CARE, GONE, 10), { mayMend: true, knownEpoch: 7, nowMs: 10 }).state;
    const outcome = { kind: 'refused', reason: 'role "app" lacks this right' } as const;
    const refused = receiveMending(mending, { kind: 'table-mended', outcome }, 20);
    assert.equal(describeDamage(check(refused, GONE, 30)), outcome.reason);
    assert.ok(!kinds(refused, { mayMend: true, nowMs: 2_000 }).includes('mend-table'));
    assert.ok(kinds(refused, { mayMend: true, nowMs: 10_000 }).includes('mend-table'));
    assert.equal(describeDamage(check(refused, SOUND, 30)), null);
  });

  test('mends nothing that needs a person, and says what to do', () => {
    const broken = check(NO_CARE, { kind: 'broken', reason: 'the table is gone: create it again' }, 10);
    assert.ok(!kinds(broken, { mayMend: true, nowMs: 60_000 }).includes('mend-table'));
    assert.equal(describeDamage(broken), 'the table is gone: create it again');
  });
});

describe('what a check finds', () => {
  const names = { schema: 'shop', table: 'orders', id: 'id', value: 'value', worker: 'worker' };
  const WHOLE: AdoptionFindings = {
    isReadOnly: false,
    lost: [],
    hasTable: true,
    lostColumns: [],
    hasIndex: true,
    lostTriggers: [],
    parents: [],
    isPartition: false,
  };
  const judge = (found: Partial<AdoptionFindings>) => judgeAdoption({ ...WHOLE, ...found }, names);
  const all = ['adoption', 'migration', 'slot', 'table_change', 'epoch'];

  test('is sound if nothing is missing', () => {
    assert.deepEqual(judge({}), SOUND);
  });

  test('can be mended if all of schema scaler, or the index or triggers are missing', () => {
    const schema = judge({ lost: all, hasIndex: false, lostTriggers: ['scaler_insert'] });
    assert.deepEqual([schema.kind, schema.kind === 'mendable' && schema.what], ['mendable', 'schema']);
    const equipment = judge({ hasIndex: false, lostTriggers: ['scaler_insert'] });
    assert.equal(equipment.kind === 'mendable' && equipment.what, 'equipment');
    assert.match(JSON.stringify(equipment), /shop\.orders lacks its slot index, trigger scaler_insert/);
  });

  test('needs a person if Postgres is read-only, or the table, a column or part of schema scaler is gone', () => {
    const cases: [Partial<AdoptionFindings>, RegExp][] = [
      [{ isReadOnly: true }, /^Postgres is read-only/],
      [{ hasTable: false, lostColumns: ['id'], lost: all }, /^table shop\.orders is gone: create it again/],
      [{ lostColumns: ['worker'] }, /has no column worker: add it again/],
      [{ lost: ['slot'] }, /^schema scaler lacks scaler\.slot: run: DROP SCHEMA scaler CASCADE/],
    ];
    for (const [found, reason] of cases) {
      const verdict = judge(found);
      assert.equal(verdict.kind, 'broken');
      assert.match(verdict.kind === 'broken' ? verdict.reason : '', reason);
    }
  });
});
