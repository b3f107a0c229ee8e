import type { World } from './world.ts';

/** A kind of trouble: what begins it, and, where it does not end by itself, what ends it. */
export interface Fault {
  readonly name: string;
  begin(world: World): (() => void) | null;
  readonly longestMs: number;
}
