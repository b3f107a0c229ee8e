import type { Liveness } from '../../shared/nats/liveness.ts';
import type { WorkerEffect } from './protocol.ts';

/**
 * Keeps the liveness key: one renewal under way at most, a new one each heartbeat, at once after a reconnect.
 * The value carries the last tick, so that a process whose timers run but whose work stands still gives itself away.
 *
 * States: unregistered → registered (first renewal acknowledged) → withdrawing (no more renewals, the key being removed).
 */
export interface HeartbeatState {
  readonly phase: 'unregistered' | 'registered' | 'withdrawing' | 'withdrawn';
  readonly isBusy: boolean;
  /** A renewal was sent, answered or not: a key may be there. */
  readonly hasTried: boolean;
  readonly nextAtMs: number;
}

export interface HeartbeatStep {
  readonly state: HeartbeatState;
  readonly effects: readonly WorkerEffect[];
}

export const NOT_REGISTERED: HeartbeatState = {
  phase: 'unregistered',
  isBusy: false,
  hasTried: false,
  nextAtMs: Number.NEGATIVE_INFINITY,
};

const WITHDRAW_RETRY_MS = 200;

/** `value` is what the key would say now. */
export function advanceHeartbeat(
  state: HeartbeatState,
  value: Liveness,
  timing: { readonly nowMs: number; readonly heartbeatMs: number },
): HeartbeatStep {
  if (state.isBusy || state.phase === 'withdrawn' || timing.nowMs < state.nextAtMs) return { state, effects: [] };
  if (state.phase === 'withdrawing') {
    const nextAtMs = timing.nowMs + WITHDRAW_RETRY_MS;
    return { state: { ...state, isBusy: true, nextAtMs }, effects: [{ kind: 'remove-key' }] };
  }
  const nextAtMs = timing.nowMs + timing.heartbeatMs;
  return { state: { ...state, isBusy: true, hasTried: true, nextAtMs }, effects: [{ kind: 'renew', value }] };
}

export function finishRenewal(state: HeartbeatState, isAcknowledged: boolean): HeartbeatState {
  const phase = state.phase === 'unregistered' && isAcknowledged ? 'registered' : state.phase;
  return { ...state, phase, isBusy: false };
}

/** A removal waits for the renewal under way: else the renewal could put the key back after it. */
export function withdraw(state: HeartbeatState): HeartbeatState {
  if (state.phase === 'withdrawing' || state.phase === 'withdrawn') return state;
  if (!state.hasTried) return { ...state, phase: 'withdrawn' };
  return { ...state, phase: 'withdrawing', nextAtMs: Number.NEGATIVE_INFINITY };
}

export function finishRemoval(state: HeartbeatState, isRemoved: boolean): HeartbeatState {
  return { ...state, isBusy: false, phase: isRemoved ? 'withdrawn' : state.phase };
}

/** After a reconnect the key may be gone: say at once that I live. */
export function hurryHeartbeat(state: HeartbeatState): HeartbeatState {
  return { ...state, nextAtMs: Number.NEGATIVE_INFINITY };
}

export function heartbeatWakeAtMs(state: HeartbeatState): number | null {
  return state.isBusy || state.phase === 'withdrawn' ? null : state.nextAtMs;
}
