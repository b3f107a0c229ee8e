/** Further off than this, a guess would mislead more than help. */
const LARGEST_DISTANCE = 3;

/** The known word nearest to a misspelt one, or null when none is near. */
export function nearestWord(given: string, known: readonly string[]): string | null {
  let nearest: string | null = null;
  let smallest = LARGEST_DISTANCE + 1;
  for (const word of known) {
    // --port for --http-port: a part of the right name is as good as a typing error.
    const distance = word.split('-').includes(given) ? 1 : editDistance(given, word);
    if (distance >= smallest || distance >= word.length / 2) continue;
    nearest = word;
    smallest = distance;
  }
  return nearest;
}

/** Letters to insert, delete or replace to get from one word to the other (Levenshtein). */
export function editDistance(from: string, to: string): number {
  let previous = Array.from({ length: to.length + 1 }, (_, index) => index);
  for (let row = 1; row <= from.length; row++) {
    const current = [row];
    for (let column = 1; column <= to.length; column++) {
      const replaced = previous[column - 1]! + (from[row - 1] === to[column - 1] ? 0 : 1);
      current.push(Math.min(replaced, previous[column]! + 1, current[column - 1]! + 1));
    }
    previous = current;
  }
  return previous[to.length]!;
}
