import { rmSync } from 'node:fs';
import { chmod, mkdir, mkdtemp } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { LocalError } from './local-error.ts';

export interface DataDirectory {
  readonly nats: string;
  readonly postgres: string;
  /** Removes a temporary one; keeps one that was asked for. Idempotent. */
  remove(): void;
}

/** @throws {LocalError} `server-failed` where the folder cannot be made. */
export async function openDataDirectory(asked: string | undefined): Promise<DataDirectory> {
  try {
    const path = asked === undefined ? await mkdtemp(join(tmpdir(), 'notifi-scaler-')) : resolve(asked);
    const isNew = (await mkdir(path, { recursive: true })) !== undefined || asked === undefined;
    // Under root, Postgres runs as another user and must get through to its own folder.
    if (isNew && process.getuid?.() === 0) await chmod(path, 0o711);
    return {
      nats: join(path, 'nats'),
      postgres: join(path, 'postgres'),
      remove: () => {
        // A server killed a moment ago may still be writing.
        if (asked === undefined) rmSync(path, { recursive: true, force: true, maxRetries: 5, retryDelay: 50 });
      },
    };
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    const message = `cannot make the folder for the data, ${asked ?? tmpdir()} (${code}): give another with --data`;
    throw new LocalError('server-failed', message);
  }
}
