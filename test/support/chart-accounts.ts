import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';

const FILE = resolve(import.meta.dirname, '../../helm/files/nats-accounts.conf');

/** The chart's users and their rights for an installation with this prefix; each password is `passwordOf` the user. */
export function chartAccounts(prefix: string): string {
  return readFileSync(FILE, 'utf8')
    .replaceAll('<name>', `${prefix}_`)
    .replaceAll('<subject>', `${prefix}.`)
    .replace(/\$(COORDINATOR|WORKER|OBSERVER|SYSTEM)_PASSWORD/g, (_, role: string) => passwordOf(role.toLowerCase()));
}

export function passwordOf(user: string): string {
  return `pw-${user}`;
}
