import type { Guard } from './guard.ts';

/** It would mend what the guard is for, seconds later. */
const WITHOUT_CENSUS = {
  file: 'services/coordinator/row-census.ts',
  from: 'isDoubtful: true',
  to: 'isDoubtful: false',
};

/** Guards against what Postgres may do: lose commits, let statements fail, and have rows that nobody reported. */
export const POSTGRES_GUARDS: readonly Guard[] = [
  {
    name: 'count-connection',
    rule: 'changes are added only to a count of the same connection',
    harm: /counts \d+ rows in slot/,
    fault: 'Postgres loses its newest commits',
    edits: [
      {
        file: 'services/coordinator/table-size.ts',
        from: "  if (change.connection !== size.connection) return 'reconnected';\n",
        to: '',
      },
      WITHOUT_CENSUS,
    ],
  },
  {
    name: 'count-truncate',
    rule: 'a truncated table is counted again',
    harm: /counts \d+ rows in slot/,
    fault: 'table truncated',
    edits: [
      { file: 'services/coordinator/table-size.ts', from: "  if (change.recount) return 'truncated';\n", to: '' },
      WITHOUT_CENSUS,
    ],
  },
  {
    name: 'count-contradiction',
    rule: 'a table whose changes contradict its count is counted again',
    harm: /counts \d+ rows in slot/,
    fault: 'rows change while triggers are off',
    edits: [
      {
        file: 'services/coordinator/table-size.ts',
        from: "return isPossible ? null : 'contradicted';",
        to: 'return null;',
      },
      WITHOUT_CENSUS,
    ],
  },
  {
    name: 'row-census',
    rule: 'rows that no trigger reports are counted, because the workers see them',
    harm: /counts \d+ rows, the table has/,
    fault: 'rows change while triggers are off',
    edits: [WITHOUT_CENSUS],
  },
  {
    name: 'epoch-forgotten',
    rule: 'a term ends when Postgres has forgotten its epoch',
    harm: /was not ticked|is fenced to|has applied|watches other slots|needlessly/,
    fault: 'Postgres loses its newest commits',
    edits: [
      {
        file: 'services/coordinator/newest-read.ts',
        from: 'return lastEpoch < epoch ? `Postgres',
        to: 'return lastEpoch < 0 ? `Postgres',
      },
    ],
  },
  {
    name: 'epoch-above-stream',
    rule: 'a term after a restore of Postgres is raised above the stream’s newest',
    harm: /was accepted after|has applied|was not ticked/,
    fault: 'Postgres loses its newest commits',
    edits: [
      {
        file: 'shared/ring/issued-order.ts',
        from: 'return published <= claimed + LONGEST_EPOCH_LEAP ? Math.max(claimed, published) : claimed;',
        to: 'return claimed;',
      },
    ],
  },
  {
    name: 'forgotten-claims',
    rule: 'slots that the fence does not name their owner for are claimed again',
    harm: /was not ticked|is fenced to/,
    fault: 'Postgres loses its newest commits',
    edits: [
      {
        file: 'services/worker/slice.ts',
        from: 'const mayReclaim = disputed.length > 0 &&',
        to: 'const mayReclaim = disputed.length < 0 &&',
      },
    ],
  },
  {
    name: 'claim-retry',
    rule: 'a claim that Postgres undid is tried again',
    harm: /has applied|was not ticked/,
    fault: 'statements are undone at once, as in deadlocks',
    edits: [
      {
        file: 'services/worker/slice.ts',
        from: 'applying: { ...applying, attempts, retryAtMs: nowMs + delayMs } });',
        to: 'applying: { ...applying, attempts } });',
      },
    ],
  },
  {
    name: 'last-chance',
    rule: 'a locked row costs the other rows of its slot no tick',
    harm: /was not ticked for/,
    fault: 'rows locked by an application',
    edits: [
      {
        file: 'services/worker/held-slots.ts',
        from: 'const isLast = time.nowMs >= time.nextRoundMs - MARGIN_MS;',
        to: 'const isLast = false;',
      },
      {
        file: 'services/worker/held-slots.ts',
        from: 'return { slots, isLast: true,',
        to: 'return { slots, isLast: false,',
      },
    ],
  },
  {
    name: 'ring-restored',
    rule: 'a leader puts the ring back that the stream has lost',
    harm: /there is no snapshot|has applied|the ring has/,
    fault: 'ring stream purged, restored or created again',
    edits: [
      {
        file: 'services/coordinator/planner.ts',
        from: '  if (newest.snapshot !== null && compareOrder(newest.snapshot, published) >= 0) return { state, effects: [] };\n',
        to: '  return { state, effects: [] };\n',
      },
    ],
  },
];
