import type { SlotHolder } from '../../shared/postgres/fence.ts';
import type { Order } from '../../shared/ring/snapshot.ts';

/** What happened to a slot; a re-basing is one after which later ticks may come again. */
export type FenceRecord = SlotHolder &
  (
    | {
        readonly kind: 'increment';
        readonly slot: number;
        readonly tick: number;
        readonly rows: readonly string[];
        /** What the database's clock showed when the statement began. */
        readonly shown: number;
      }
    | { readonly kind: 'rebase'; readonly slot: number; readonly tick: number; readonly from: number }
    | { readonly kind: 'claim'; readonly slot: number; readonly order: Order }
  );

export type LastingRecord = FenceRecord | { readonly kind: 'move'; readonly row: string };
/** After a restore only the first so many records are known any more. */
export type PostgresRecord = LastingRecord | { readonly kind: 'restored'; readonly records: number };
