import { lastLine, type Outcome } from '../command.ts';
import type { Installation } from '../installation.ts';
import type { Step, StepContext } from '../step.ts';

/** Users that may change nothing, with the keys of their passwords in the Secret. */
const USERS: readonly { readonly user: string; readonly key: string }[] = [
  { user: 'worker', key: 'workerPassword' },
  { user: 'observer', key: 'observerPassword' },
];
const STREAMS = ['RING', 'TABLE', 'KV_workers', 'KV_coordinators'];

/** From the mildest to the worst: where one is not refused, the next are not tried. */
const ATTEMPTS: readonly { readonly what: string; readonly args: readonly string[] }[] = [
  { what: 'publish a snapshot', args: ['pub', 'ring.snapshot', '{}'] },
  { what: 'take the leadership', args: ['pub', '$KV.coordinators.leader', '{}'] },
  { what: 'purge the stream RING', args: ['req', '$JS.API.STREAM.PURGE.RING', '', '--timeout', '3s'] },
  { what: 'delete the stream RING', args: ['req', '$JS.API.STREAM.DELETE.RING', '', '--timeout', '3s'] },
  { what: 'delete the bucket workers', args: ['req', '$JS.API.STREAM.DELETE.KV_workers', '', '--timeout', '3s'] },
];

export const credentials: Step = {
  name: 'credentials',
  purpose: "a worker's password, and the nats-box's, open only what they need",
  limitSeconds: 180,
  run: async (context) => {
    const before = await newestSequence(context.app);
    for (const { user, key } of USERS) await expectRefusals(context, user, key);
    const after = await newestSequence(context.app);
    const isSame = after === before && before !== null;
    context.expect({ what: 'the newest snapshot after that', expected: `${before}`, seen: `${after}`, isOk: isSame });
    await expectStreams(context);
  },
};

async function expectRefusals(context: StepContext, user: string, key: string): Promise<void> {
  const { app } = context;
  const password = await readPassword(app, key);
  const seen = password === null ? 'no such key' : 'there';
  context.expect({ what: `a password of the user ${user}`, expected: key, seen, isOk: password !== null });
  if (password === null) return;
  for (const { what, args } of ATTEMPTS) {
    if (!expectRefusal(context, `as ${user}: ${what}`, await asUser(app, { user, password }, args))) return;
  }
}

async function readPassword(app: Installation, key: string): Promise<string | null> {
  const secret = await app.cluster.readJson<{ readonly data: Readonly<Record<string, string>> }>([
    'get',
    'secret',
    app.name('nats'),
  ]);
  const encoded = secret.data[key];
  return encoded === undefined ? null : Buffer.from(encoded, 'base64').toString('utf8');
}

/** The password comes by stdin, so that no list of processes shows it. */
function asUser(
  app: Installation,
  { user, password }: { readonly user: string; readonly password: string },
  args: readonly string[],
): Promise<Outcome> {
  const script = 'IFS= read -r NATS_PASSWORD; export NATS_PASSWORD; exec nats "$@" </dev/null';
  const command = ['env', `NATS_USER=${user}`, 'sh', '-c', script, 'sh', ...args];
  return app.exec(`deployment/${app.name('nats-box')}`, command, `${password}\n`);
}

function expectRefusal(context: StepContext, what: string, { code, stdout, stderr }: Outcome): boolean {
  const said = `${stderr}\n${stdout}`;
  const isOk = /permissions violation/i.test(said);
  const seen = isOk ? 'permissions violation' : `exit code ${code}: ${lastLine(said)}`;
  context.expect({ what, expected: 'permissions violation', seen, isOk });
  return isOk;
}

/** As the nats-box's own user reads it; null where it cannot. */
async function newestSequence(app: Installation): Promise<string | null> {
  const { stdout } = await app.nats(['stream', 'get', 'RING', '--last-for', 'ring.snapshot']);
  return /RING#(\d+)/.exec(stdout)?.[0] ?? null;
}

async function expectStreams(context: StepContext): Promise<void> {
  const { stdout } = await context.app.nats(['stream', 'ls', '--names', '--all']);
  const there = stdout.split(/\s+/);
  const missing = STREAMS.filter((stream) => !there.includes(stream));
  const seen = missing.length === 0 ? STREAMS.join(', ') : `without ${missing.join(', ')}`;
  context.expect({ what: 'streams after that', expected: STREAMS.join(', '), seen, isOk: missing.length === 0 });
}
