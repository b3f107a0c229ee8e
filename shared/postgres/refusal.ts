import { stateOf } from './failure.ts';
import { type Ask, type Needs, requirePrivileges } from './privileges.ts';
import { requireVisibleRows } from './row-security.ts';
import { TableError } from './table.ts';
import { findMisfit, readTableShape } from './table-shape.ts';

const INSUFFICIENT_PRIVILEGE = '42501';
/** Among others: published, but no replica identity. */
const NOT_IN_PREREQUISITE_STATE = '55000';

/**
 * Somebody may take a right away, enable row-level security or publish the table while services run. They go on trying, since
 * whoever did it can undo it: but with the remedy in the log, as at a start.
 *
 * @returns a TableError that says what to run, where the catalog shows the reason; else the error itself. Never rejects.
 */
export async function explainRefusal(ask: Ask, needs: Needs, error: unknown): Promise<unknown> {
  const state = stateOf(error);
  try {
    if (state === INSUFFICIENT_PRIVILEGE) {
      await requireVisibleRows(ask, needs);
      await requirePrivileges(ask, needs.privileges);
    }
    if (state === NOT_IN_PREREQUISITE_STATE) {
      const shape = await readTableShape(ask, needs.names);
      return (shape === null ? null : findMisfit(shape, needs.names)) ?? error;
    }
  } catch (found) {
    if (found instanceof TableError) return found;
  }
  return error;
}
