import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import pg from 'pg';
import { describeFailure, isConnectionUseless, isRefusal, stateOf } from '../../shared/postgres/failure.ts';

function stated(code: string): Error {
  const error = new pg.DatabaseError(`state ${code}`, 0, 'error');
  return Object.assign(error, { code, severity: 'FATAL' });
}

function ofSystem(code: string): Error {
  return Object.assign(new Error(`connect ${code}`), { code });
}

describe('a failure to connect', () => {
  test('is final when the server refuses the role, the password or the database', () => {
    for (const code of ['28P01', '28000', '3D000', '42501']) assert.equal(isRefusal(stated(code)), true, code);
    assert.equal(isRefusal(ofSystem('DEPTH_ZERO_SELF_SIGNED_CERT')), true);
    assert.equal(isRefusal(new Error('The server does not support SSL connections')), true);
  });

  test('passes when the server is away, starting, stopping or full', () => {
    for (const code of ['57P03', '57P01', '53300', '08006']) assert.equal(isRefusal(stated(code)), false, code);
    for (const code of ['ECONNREFUSED', 'ENOTFOUND', 'EAI_AGAIN', 'ECONNRESET', 'ETIMEDOUT', 'EHOSTUNREACH']) {
      assert.equal(isRefusal(ofSystem(code)), false, code);
    }
    assert.equal(isRefusal(new Error('timeout expired')), false);
  });

  test('is told in words, also where several addresses failed', () => {
    const both = new AggregateError([ofSystem('ECONNREFUSED'), ofSystem('ETIMEDOUT')], '');
    assert.equal(describeFailure(both), 'connect ECONNREFUSED; connect ETIMEDOUT');
    assert.equal(describeFailure('odd'), 'odd');
  });
});

describe('a failed statement', () => {
  test('ends the connection when the connection is at fault, and only then', () => {
    for (const code of ['57P01', '57P02', '08006', '25006', '26000', '0A000'])
      assert.equal(isConnectionUseless(stated(code)), true, code);
    for (const code of ['40P01', '40001', '57014', '22012', '42501', '23505', '55P03']) {
      assert.equal(isConnectionUseless(stated(code)), false, code);
    }
    assert.equal(isConnectionUseless(ofSystem('EPIPE')), true);
    assert.equal(isConnectionUseless(new Error('Connection terminated unexpectedly')), true);
  });

  test('has a state only where Postgres gave one', () => {
    assert.equal(stateOf(stated('42501')), '42501');
    assert.equal(stateOf(ofSystem('EPIPE')), null);
    assert.equal(stateOf(null), null);
  });
});
