/** The rows of a table as psql prints it for people: cells between bars, below a head and a rule. Pure. */
export function parsePsqlTable(text: string): Record<string, string>[] {
  const lines = text.split('\n');
  const rule = lines.findIndex((line) => /^-+(\+-+)*$/.test(line));
  if (rule < 1) return [];
  const names = splitCells(lines[rule - 1]!);
  const end = lines.findIndex((line) => /^\(\d+ rows?\)$/.test(line));
  return lines.slice(rule + 1, end < 0 ? undefined : end).map((line) => {
    const cells = splitCells(line);
    return Object.fromEntries(names.map((name, index) => [name, cells[index] ?? '']));
  });
}

function splitCells(line: string): string[] {
  return line.split('|').map((cell) => cell.trim());
}
