import { execFile } from 'node:child_process';
import { createRequire } from 'node:module';
import { join, resolve } from 'node:path';
import { promisify } from 'node:util';
import { say } from '../support/output.ts';
import type { Place, Strategy } from './strategy.ts';

/**
 * The libraries that people take from npm. They live in a package of their own beside this benchmark, installed when it
 * runs, so that the product depends on none of them.
 */
const PACKAGE = resolve(import.meta.dirname, '../peers');
const INSTALL_LIMIT_MS = 120_000;
/** The widest ring that hashring's README shows; its default (40) is as uneven as any other of 160 points. */
const HASHRING_POINTS = 200;

/** Each in its way of use: made for the workers, then asked key by key. */
const PEERS: readonly { readonly name: string; readonly note: string; readonly place: (library: never) => Place }[] = [
  {
    name: 'hashring',
    note: `${HASHRING_POINTS} virtual nodes`,
    place: (HashRing: new (servers: readonly string[], algorithm: string, options: object) => Ring) => (workers) => {
      const ring = new HashRing(workers, 'md5', { 'vnode count': HASHRING_POINTS, 'max cache size': 1 });
      return (key) => ring.get(key);
    },
  },
  {
    name: 'consistent-hashing',
    note: '160 virtual nodes',
    place: (ConsistentHashing: new (nodes: readonly string[]) => { getNode(key: string): string }) => (workers) => {
      const ring = new ConsistentHashing([...workers]);
      return (key) => ring.getNode(key);
    },
  },
  {
    name: 'jumphash',
    note: 'by place in the sorted list',
    place: (jumphash: (key: string, buckets: number) => number) => (workers) => {
      const sorted = [...workers].sort();
      return (key) => sorted[jumphash(key, sorted.length)] ?? '';
    },
  },
  {
    name: 'skeleton-rendezvous',
    note: 'its defaults',
    place: (Hasher: new (options: { sites: readonly string[] }) => { findSite(key: string): string }) => (workers) => {
      const hasher = new Hasher({ sites: [...workers] });
      return (key) => hasher.findSite(key);
    },
  },
];

interface Ring {
  get(key: string): string;
}

/** Those that can be had here; says which cannot, and why. */
export async function loadPeers(): Promise<Strategy[]> {
  const load = createRequire(join(PACKAGE, 'package.json'));
  if (!canLoad(load) && !(await install())) return [];
  return PEERS.flatMap(({ name, note, place }) => {
    try {
      const { version } = load(`${name}/package.json`) as { version: string };
      return [{ name: `${name} ${version}`, note, start: () => stateless(place(load(name) as never)) }];
    } catch (error) {
      say(`${name} is left out: ${String(error).split('\n')[0]}`);
      return [];
    }
  });
}

/** None of them looks at what was before. */
function stateless(place: Place) {
  return (keys: readonly string[], workers: readonly string[]) => {
    const find = place(workers);
    return keys.map(find);
  };
}

function canLoad(load: NodeJS.Require): boolean {
  return PEERS.every(({ name }) => {
    try {
      load.resolve(name);
      return true;
    } catch {
      return false;
    }
  });
}

async function install(): Promise<boolean> {
  say('installing the libraries to compare with: npm ci --prefix bench/peers');
  const args = ['ci', '--prefix', PACKAGE, '--ignore-scripts', '--no-audit', '--no-fund'];
  try {
    await promisify(execFile)('npm', args, { timeout: INSTALL_LIMIT_MS });
    return true;
  } catch (error) {
    const reason = error instanceof Error ? error.message.split('\n')[0] : String(error);
    say(`the libraries cannot be installed (${reason}); measuring without them`);
    return false;
  }
}
