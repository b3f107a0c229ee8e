import assert from 'node:assert/strict';
import { test } from 'node:test';
import { pino } from 'pino';
import { PostgresUnavailableError } from '../../shared/postgres/failure.ts';
import { outlastOutages } from '../../shared/postgres/patience.ts';

const log = pino({ level: 'silent' });

test('an outage during the adoption is waited for, and the work is done again', async () => {
  let calls = 0;
  const result = await outlastOutages(
    async () => {
      calls += 1;
      if (calls < 3) throw new PostgresUnavailableError('gone');
      return 'done';
    },
    { log, signal: new AbortController().signal },
  );
  assert.deepEqual([result, calls], ['done', 3]);
});

test('what waiting cannot mend is thrown at once', async () => {
  const work = async () => {
    throw new Error('a view');
  };
  await assert.rejects(outlastOutages(work, { log, signal: new AbortController().signal }), /a view/);
});

test('a request to leave ends the waiting', async () => {
  const leave = new AbortController();
  const work = async () => {
    leave.abort();
    throw new PostgresUnavailableError('gone');
  };
  await assert.rejects(outlastOutages(work, { log, signal: leave.signal }), { name: 'AbortError' });
});
