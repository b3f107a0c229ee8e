import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, relative, resolve } from 'node:path';
import { test } from 'node:test';

/** The house rules that a linter cannot know. Each failure names the file and the remedy. */
const ROOT = resolve(import.meta.dirname, '../..');
const FOLDERS = ['services', 'shared', 'test', 'bench'];
const LONGEST_LINES = 360;

interface Source {
  readonly path: string;
  readonly text: string;
  /** Static imports with values: type-only ones vanish. */
  readonly imports: readonly string[];
}

const sources = FOLDERS.flatMap((folder) => listFiles(join(ROOT, folder))).map(readSource);

/** Decisions: same input, same output. They import no clock, no environment, no client library, no randomness. */
const PURE = [
  /^shared\/(ring|message)\//,
  /^shared\/machine\/(machine|trouble|watches)\.ts$/,
  /^shared\/postgres\/tick-result\.ts$/,
  /^services\/worker\/(protocol|machine|vetting|slice|round|chunks|blocked-rows|held-slots|troubled-slots|row-trouble|takeover|missed-ticks|heartbeat|departure|database-clock|readiness)\.ts$/,
  /^services\/coordinator\/(protocol|machine|bench|member|membership|membership-progress|membership-return|membership-sweep|progress-read|leadership|newest-read|office|planner|table-size|recount|row-census|recovery|stray-misses|desired-workers|readiness|table-care)\.ts$/,
  /^services\/cli\/(audit-log|audit-track|drain-progress|ring-difference)\.ts$/,
  /^test\/e2e\/(log-lines|watching|handover|findings|psql-table)\.ts$/,
  /^test\/simulation\/random\.ts$/,
  /^bench\/soak\/(gaps|plan|rest|slope|tally)\.ts$/,
  /^bench\/contention\/(application-messages|missed-ticks|verdicts)\.ts$/,
  /^bench\/support\/statistics\.ts$/,
];
/** Validates messages; it reads nothing but its argument. */
const PURE_MAY_IMPORT = ['zod'];

test('pure files import no node module, no library and no effectful file: move the effect to the service', () => {
  for (const { path, imports } of sources.filter(isPure)) {
    for (const name of imports) {
      const isAllowed = name.startsWith('.') ? isPurePath(resolveImport(path, name)) : PURE_MAY_IMPORT.includes(name);
      assert.ok(isAllowed, `${path} imports ${name}: make it a type import, or hand the value in`);
    }
  }
});

test('pure files read no clock, environment or random number: take it as an argument', () => {
  for (const { path, text } of sources.filter(isPure)) {
    const found =
      /\b(Date\.now|new Date\(\)|performance\.now|Math\.random|process\.(env|argv|hrtime|pid|exit|on)|setTimeout|setInterval)\b/.exec(
        text,
      );
    assert.equal(found, null, `${path} uses ${found?.[0]}`);
  }
});

test('services never import each other: what they share belongs to shared/', () => {
  for (const { path, imports } of sources.filter(({ path }) => path.startsWith('services/'))) {
    for (const name of imports.filter((name) => name.startsWith('.'))) {
      const target = resolveImport(path, name);
      const isForeign = target.startsWith('services/') && target.split('/')[1] !== path.split('/')[1];
      assert.ok(!isForeign, `${path} imports ${target}`);
    }
  }
});

test('shared code imports no service: turn the arrow round', () => {
  for (const { path, imports } of sources.filter(({ path }) => path.startsWith('shared/'))) {
    for (const name of imports)
      assert.ok(!resolveImport(path, name).startsWith('services/'), `${path} imports ${name}`);
  }
});

test('each client library is used in one adapter folder only: go through the adapter', () => {
  const homes: Readonly<Record<string, RegExp>> = {
    // The bare processes of a benchmark are to have nothing of ours.
    nats: /^(shared\/nats\/|test\/|bench\/recovery\/floor-process\.ts$)/,
    // COPY, which no service does.
    pg: /^(shared\/postgres\/|test\/|bench\/(recovery\/floor-process|support\/copy-rows)\.ts$)/,
  };
  for (const { path, imports } of sources) {
    for (const [library, home] of Object.entries(homes)) {
      assert.ok(!imports.includes(library) || home.test(path), `${path} imports ${library}`);
    }
  }
});

test('files are named in kebab-case for the noun inside, and none is a barrel', () => {
  for (const { path } of sources) {
    const name = path.split('/').at(-1) ?? '';
    assert.match(name, /^[a-z0-9]+(-[a-z0-9]+)*(\.test)?\.ts$/, `${path}: rename it`);
    assert.notEqual(name, 'index.ts', `${path}: import from the file that has it`);
    assert.doesNotMatch(name, /(manager|helper|util|data|info)s?\.ts$/, `${path}: name the noun`);
  }
});

test(`files stay under ${LONGEST_LINES} lines: split by noun`, () => {
  for (const { path, text } of sources.filter(({ path }) => !path.startsWith('test/'))) {
    const lines = text.split('\n').length;
    const limit = /\/(coordinator|worker)\/machine\.ts$/.test(path) ? 2 * LONGEST_LINES : LONGEST_LINES;
    assert.ok(lines <= limit, `${path} has ${lines} lines`);
  }
});

function isPure({ path }: Source): boolean {
  return isPurePath(path);
}

function isPurePath(path: string): boolean {
  return PURE.some((pattern) => pattern.test(path));
}

function resolveImport(path: string, name: string): string {
  return name.startsWith('.') ? relative(ROOT, resolve(ROOT, dirname(path), name)) : name;
}

function listFiles(folder: string): string[] {
  const entries = readdirSync(folder, { withFileTypes: true }).filter(({ name }) => name !== 'node_modules');
  return entries.flatMap((entry) => {
    const path = join(folder, entry.name);
    if (entry.isDirectory()) return listFiles(path);
    return entry.name.endsWith('.ts') ? [path] : [];
  });
}

function readSource(path: string): Source {
  const text = readFileSync(path, 'utf8');
  const statements = text.matchAll(/^(?:import|export)\s+(?!type\b)([^;]*?)\s*from\s+'([^']+)'/gm);
  const imports = [...statements].filter(([, names = '']) => hasValue(names)).map(([, , name = '']) => name);
  return { path: relative(ROOT, path), text, imports };
}

/** `{ type A, type B }` imports nothing at run time. */
function hasValue(names: string): boolean {
  const inBraces = /^\{([\s\S]*)\}$/.exec(names.trim())?.[1];
  if (inBraces === undefined) return true;
  return inBraces.split(',').some((name) => name.trim() !== '' && !name.trim().startsWith('type '));
}
