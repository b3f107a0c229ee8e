import { execFile } from 'node:child_process';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';

export interface Certificates {
  /** The authority's own. */
  readonly root: string;
  /** Of another authority, which signed nothing here. */
  readonly otherRoot: string;
  readonly certificate: string;
  readonly key: string;
}

const run = promisify(execFile);
const NEW_KEY = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes'];

/** A server's certificate for one host name, with its authority's. Needs openssl. */
export async function makeCertificates(folder: string, hostName: string): Promise<Certificates> {
  const path = (name: string) => join(folder, name);
  for (const name of ['root', 'other']) {
    const files = ['-keyout', path(`${name}.key`), '-out', path(`${name}.crt`)];
    await run('openssl', ['req', '-x509', ...NEW_KEY, '-subj', `/CN=${name}`, '-days', '2', ...files]);
  }
  const files = ['-keyout', path('server.key'), '-out', path('server.csr')];
  await run('openssl', ['req', '-new', ...NEW_KEY, '-subj', `/CN=${hostName}`, ...files]);
  await writeFile(path('names'), `subjectAltName=DNS:${hostName}\n`);
  const authority = ['-CA', path('root.crt'), '-CAkey', path('root.key'), '-CAcreateserial'];
  const signed = ['-days', '2', '-extfile', path('names'), '-out', path('server.crt')];
  await run('openssl', ['x509', '-req', '-in', path('server.csr'), ...authority, ...signed]);
  return {
    root: path('root.crt'),
    otherRoot: path('other.crt'),
    certificate: path('server.crt'),
    key: path('server.key'),
  };
}

/** Null where openssl runs, else why these tests cannot. */
export async function whyNoOpenssl(): Promise<string | null> {
  return run('openssl', ['version']).then(
    () => null,
    () => 'openssl is not installed: no test of encrypted connections runs',
  );
}
