/** What was seen, and how it is told. Pure. */
export interface Finding {
  readonly step: string;
  readonly what: string;
  /** '' where nothing is promised and the figure is only told. */
  readonly expected: string;
  readonly seen: string;
  /** Null where nothing is promised. */
  readonly isOk: boolean | null;
}

export const FINDING_HEAD = ['step', 'what', 'expected', 'seen', 'ok'] as const;

export function toCells({ step, what, expected, seen, isOk }: Finding): string[] {
  return [step, what, expected, seen, describeOk(isOk)];
}

export function describeFinding({ what, expected, seen, isOk }: Finding): string {
  if (isOk === false) return `NO  ${what}: expected ${expected}, saw ${seen}`;
  return `${isOk ? 'ok' : '  '}  ${what}: ${seen}`;
}

export function formatMarkdown(findings: readonly Finding[]): string {
  const rows = [FINDING_HEAD, FINDING_HEAD.map(() => '---'), ...findings.map(toCells)];
  return rows.map((cells) => `| ${cells.map(escapeCell).join(' | ')} |\n`).join('');
}

export interface Verdict {
  readonly isAsPromised: boolean;
  readonly text: string;
}

/** `unfinished` names the steps that were chosen but not tried. A walk that checked nothing proves nothing. */
export function judge(
  findings: readonly Finding[],
  walk: { readonly seconds: number; readonly unfinished: readonly string[] },
): Verdict {
  const checks = findings.filter(({ isOk }) => isOk !== null);
  const broken = checks.filter(({ isOk }) => isOk === false);
  const isAsPromised = broken.length === 0 && walk.unfinished.length === 0 && checks.length > 0;
  const steps = [...new Set(broken.map(({ step }) => step))];
  const parts = [`${checks.length - broken.length} of ${checks.length} checks hold`];
  if (steps.length > 0) parts.push(`broken in ${steps.join(', ')}`);
  if (walk.unfinished.length > 0) parts.push(`not tried: ${walk.unfinished.join(', ')}`);
  const word = isAsPromised ? 'all as promised' : 'NOT as promised';
  return { isAsPromised, text: `${word}: ${parts.join('; ')}; ${Math.round(walk.seconds)} s` };
}

function describeOk(isOk: boolean | null): string {
  if (isOk === null) return '';
  return isOk ? 'yes' : 'NO';
}

/** A bar would end the cell, a line's end the row. */
function escapeCell(text: string): string {
  return text.replaceAll('|', '\\|').replaceAll('\n', ' ');
}
