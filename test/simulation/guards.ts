import type { Guard } from './guard.ts';
import { POSTGRES_GUARDS } from './guards-of-postgres.ts';

export const GUARDS: readonly Guard[] = [
  {
    name: 'bucket-word',
    rule: 'silence needs the bucket’s own word',
    harm: /put worker-\d+ out needlessly \(lease-expired\)/,
    edits: [
      {
        file: 'services/coordinator/membership.ts',
        from: '  if (isRenewed) return clear(state, member, { revision, nowMs });\n',
        to: '',
      },
    ],
  },
  {
    name: 'own-acknowledgements',
    rule: 'evidence counts only while one’s own renewals are acknowledged, and a reconnect starts every lease anew',
    harm: /put worker-\d+ out needlessly/,
    edits: [
      {
        file: 'services/coordinator/machine.ts',
        from: 'membership: restartLeases(term.membership, { leaseTtlMs, nowMs, fromMs }),',
        to: 'membership: term.membership,',
      },
    ],
  },
  {
    name: 'nobody-ticks',
    rule: 'nobody is put out for not ticking while nobody ticks',
    harm: /put worker-\d+ out needlessly \(not-ticking\)/,
    edits: [
      {
        file: 'services/coordinator/membership-sweep.ts',
        from: 'isStandstill(members, nowMs) ? nowMs : state.standstillAtMs;',
        to: 'state.standstillAtMs;',
      },
    ],
  },
  {
    name: 'mass-silence',
    rule: 'more than half that fall silent together get one more TTL',
    harm: /put worker-\d+ out needlessly \(lease-expired\)/,
    fault: 'all workers cut from NATS together',
    edits: [
      {
        file: 'services/coordinator/membership-sweep.ts',
        from: 'nowMs - massSilenceAtMs < leaseTtlMs ? 2 * leaseTtlMs : leaseTtlMs;',
        to: 'leaseTtlMs;',
      },
    ],
  },
  {
    name: 'deletion-by-revision',
    rule: 'a key is deleted at exactly the revision that was read',
    harm: /was deleted by a decision of/,
    fault: 'worker frozen for about a lease while the network is slow',
    edits: [
      {
        file: 'test/simulation/coordinator-effects.ts',
        from: 'liveness.delete(effect.worker, { revision: effect.revision, nowMs })',
        to: 'liveness.delete(effect.worker, { revision: current.revision, nowMs })',
      },
    ],
  },
  {
    name: 'hold-share',
    rule: 'a leader that cannot renew stops by its own clock',
    harm: /acts as the leader \([a-z-]+\), though its key was put/,
    edits: [
      { file: 'services/coordinator/leadership.ts', from: 'const HOLD_SHARE = 0.75;', to: 'const HOLD_SHARE = 1_000;' },
    ],
  },
  {
    name: 'rebase-by-database-clock',
    rule: 'slots are set back by the database’s clock, never by the worker’s',
    harm: /set back (from \d+ )?to \d+, though the database's clock/,
    edits: [
      {
        file: 'services/worker/round.ts',
        from: "effects: [{ kind: 'rebase', slots: round.ahead }]",
        to: "effects: [{ kind: 'rebase', tick: round.tick, slots: round.ahead }]",
      },
      { file: 'services/worker/round.ts', from: ' || !isMeasuredSince', to: '' },
      {
        file: 'services/worker/machine.ts',
        from: 'const CLOCK_DOUBTED_AFTER_MS = 100;',
        to: 'const CLOCK_DOUBTED_AFTER_MS = Number.POSITIVE_INFINITY;',
      },
      {
        file: 'test/simulation/worker-effects.ts',
        from: 'postgres.rebase({ ...holder, slots: effect.slots })',
        to: 'postgres.rebase({ ...holder, tick: effect.tick, slots: effect.slots })',
      },
      { file: 'test/simulation/fake-postgres.ts', from: 'const tick = this.second;', to: 'const { tick } = args;' },
    ],
  },
  {
    name: 'incarnations',
    rule: 'a process ticks no slot in turn with its successor of the same id',
    harm: /ticked in turn with its successor/,
    edits: [
      {
        file: 'test/simulation/fake-postgres.ts',
        from: 'return row.worker === worker && row.incarnation === incarnation;',
        to: 'return row.worker === worker;',
      },
    ],
  },
  {
    name: 'skipped-numbers',
    rule: 'tick numbers that the database’s clock skipped are not counted as missed',
    harm: /ticks as missed; at most/,
    edits: [
      {
        file: 'services/worker/missed-ticks.ts',
        from: 'const seconds = tick - lastTick - 1 - skippedSince(lastTick, steps);',
        to: 'const seconds = tick - lastTick - 1;',
      },
    ],
  },
  {
    name: 'no-early-tick',
    rule: 'no slot is stamped with a tick that the database’s clock has not come near',
    harm: /ticked for \d+; the database's clock shows \d+/,
    edits: [
      {
        file: 'test/simulation/fake-postgres.ts',
        from: 'const isEarly = args.tick > shown + AHEAD_TICKS;',
        to: 'const isEarly = false;',
      },
    ],
  },
  {
    name: 'issued-epochs',
    rule: 'nobody accepts an epoch that Postgres never issued',
    harm: /has applied|the ring has|coordinators lead|needlessly|was not ticked/,
    edits: [
      {
        file: 'shared/ring/issued-order.ts',
        from: "  if (order.epoch < 1 || order.epoch > issued.epoch) return 'epoch-not-issued';\n",
        to: '',
      },
    ],
  },
  {
    name: 'version-leap',
    rule: 'nobody accepts a leap in version',
    harm: /forged version reached Postgres|was accepted after|has applied/,
    fault: 'forged snapshot',
    edits: [
      {
        file: 'shared/ring/issued-order.ts',
        from: "return order.version > issued.version + LONGEST_VERSION_LEAP ? 'version-leap' : null;",
        to: 'return null;',
      },
    ],
  },
  {
    name: 'epoch-floor',
    rule: 'a new term is raised above the stream only as far as a restore of Postgres can explain',
    harm: /forged epoch reached Postgres/,
    edits: [
      {
        file: 'shared/ring/issued-order.ts',
        from: 'return published <= claimed + LONGEST_EPOCH_LEAP ? Math.max(claimed, published) : claimed;',
        to: 'return Math.max(claimed, published);',
      },
    ],
  },
  {
    name: 'foreign-snapshot',
    rule: 'a leader overrules a foreign snapshot of its own epoch',
    harm: /a forged snapshot has been in force|needlessly \(not-ticking\)|the ring has|watches other slots|has applied/,
    fault: 'forged snapshot',
    edits: [
      {
        file: 'services/coordinator/planner.ts',
        from: '  if (snapshot === null || snapshot.epoch !== epoch) return false;\n',
        to: '  if (snapshot === null || snapshot.epoch === epoch) return false;\n',
      },
    ],
  },
  ...POSTGRES_GUARDS,
];
