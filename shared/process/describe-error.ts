/** An error in one line, for logs and events; its stack is for bugs, which are not described but thrown. */
export function describeError(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
