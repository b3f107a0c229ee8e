import {
  type Contradiction,
  choice,
  hideCredentials,
  integer,
  option,
  type Reading,
  readableFile,
  readCredentials,
  secret,
  shaped,
  text,
} from './options.ts';

/** One or several NATS servers, and who connects where the addresses say so. */
export interface NatsAddresses {
  /** As host:port behind nats:// or tls://, without credentials. */
  readonly servers: readonly string[];
  readonly user?: string;
  readonly password?: string;
  /** From nats://token@host. */
  readonly token?: string;
}

export const natsOptions = {
  nats: option(
    {
      flag: 'nats',
      variable: 'NATS_URL',
      describe: 'NATS servers, several by comma',
      default: 'nats://127.0.0.1:4222',
      show: hideCredentials,
    },
    readNatsAddresses,
  ),
  natsUser: text({ flag: 'nats-user', variable: 'NATS_USER', describe: 'NATS user' }),
  natsPassword: secret({
    flag: 'nats-password',
    variable: 'NATS_PASSWORD',
    describe: "the NATS user's password",
  }),
  natsCreds: readableFile({ flag: 'nats-creds', variable: 'NATS_CREDS', describe: 'credentials file (JWT and seed)' }),
  natsCa: readableFile({
    flag: 'nats-ca',
    variable: 'NATS_CA',
    describe: 'certificate authority of the NATS servers (PEM)',
  }),
  natsCert: readableFile({ flag: 'nats-cert', variable: 'NATS_CERT', describe: "the client's certificate (PEM)" }),
  natsKey: readableFile({ flag: 'nats-key', variable: 'NATS_KEY', describe: "the client certificate's key (PEM)" }),
  natsPrefix: shaped({
    flag: 'nats-prefix',
    variable: 'NATS_PREFIX',
    describe: 'put before every NATS name, so that several installations share one NATS',
    default: '',
    defaultText: 'none',
    pattern: /^[a-z0-9-]*$/,
    expected: 'lowercase letters, digits and dashes',
  }),
};

/** For the services, which make the streams and buckets. */
export const streamOptions = {
  natsReplicas: choice({
    flag: 'nats-replicas',
    variable: 'NATS_REPLICAS',
    describe: 'servers that keep each stream and bucket: 3 outlive the loss of one',
    defaultText: '1 for new ones, existing ones keep what they have',
    choices: ['1', '3', '5'],
  }),
  natsStorageMib: integer({
    flag: 'nats-storage-mib',
    variable: 'NATS_STORAGE_MIB',
    describe: 'MiB of file storage that all streams and buckets reserve together, on each server that keeps them',
    defaultText: '64 for new ones, existing ones keep what they have',
    min: 8,
    max: 65_536,
    because: 'the largest snapshots must fit',
  }),
};

/** What the streams and buckets are opened with. */
export function toStreamOptions(values: {
  readonly natsReplicas: string | undefined;
  readonly natsStorageMib: number | undefined;
}): { readonly replicas?: number; readonly storageMib?: number } {
  const { natsReplicas, natsStorageMib } = values;
  return {
    ...(natsReplicas !== undefined && { replicas: Number(natsReplicas) }),
    ...(natsStorageMib !== undefined && { storageMib: natsStorageMib }),
  };
}

export interface NatsValues {
  readonly nats: NatsAddresses;
  readonly natsUser: string | undefined;
  readonly natsPassword: string | undefined;
  readonly natsCreds: string | undefined;
  readonly natsCa: string | undefined;
  readonly natsCert: string | undefined;
  readonly natsKey: string | undefined;
  readonly natsPrefix: string;
}

export const natsContradictions: readonly Contradiction<NatsValues>[] = [
  {
    needs: ['natsCert', 'natsKey'],
    check: ({ natsCert, natsKey }) =>
      (natsCert === undefined) === (natsKey === undefined)
        ? null
        : '--nats-cert and --nats-key: expected both or neither, got only ' +
          `${natsCert === undefined ? '--nats-key' : '--nats-cert'}. Give the other one too, or leave both out.`,
  },
  {
    needs: ['natsUser', 'natsPassword'],
    check: ({ natsUser, natsPassword }) =>
      (natsUser === undefined) === (natsPassword === undefined)
        ? null
        : '--nats-user and --nats-password: expected both or neither, got only ' +
          `${natsUser === undefined ? '--nats-password' : '--nats-user'}. Give the other one too, or leave both out.`,
  },
  {
    needs: ['nats', 'natsUser', 'natsCreds'],
    check: (values) => {
      const ways = waysToLogIn(values);
      if (ways.length < 2) return null;
      return `${ways.join(' and ')}: expected one way to log in, got ${ways.length}. Leave out all but one.`;
    },
  },
];

/** What shared/nats connects with, but for the connection's name. */
export function toNatsConnection(values: NatsValues) {
  const { servers, token } = values.nats;
  const user = values.natsUser ?? values.nats.user;
  const password = values.natsPassword ?? values.nats.password;
  return {
    servers: [...servers],
    prefix: values.natsPrefix,
    ...(user !== undefined && { user }),
    ...(password !== undefined && { password }),
    ...(token !== undefined && { token }),
    ...(values.natsCreds !== undefined && { credsFile: values.natsCreds }),
    ...(values.natsCa !== undefined && { caFile: values.natsCa }),
    ...(values.natsCert !== undefined && { certFile: values.natsCert }),
    ...(values.natsKey !== undefined && { keyFile: values.natsKey }),
  };
}

/** Reads `[nats://][user:password@]host[:port]` by comma; the client library drops credentials in addresses silently. */
export function readNatsAddresses(given: string): Reading<NatsAddresses> {
  const expected = 'servers such as nats://host:4222, several by comma, with at most one user for all of them';
  const servers: string[] = [];
  const logins = new Map<string, Omit<NatsAddresses, 'servers'>>();
  for (const piece of given.split(',')) {
    const url = parseAddress(piece.trim());
    const login = url && readCredentials(url);
    if (url === null || login === null) return { ok: false, expected };
    servers.push(`${url.protocol}//${url.hostname}:${url.port || '4222'}`);
    const { user, password } = login;
    if (user !== '') logins.set(JSON.stringify(login), password === '' ? { token: user } : { user, password });
  }
  if (logins.size > 1) return { ok: false, expected };
  const [login = {}] = logins.values();
  return { ok: true, value: { servers, ...login } };
}

function parseAddress(piece: string): URL | null {
  const address = piece.includes('://') ? piece : `nats://${piece}`;
  if (!URL.canParse(address)) return null;
  const url = new URL(address);
  const isServer = ['nats:', 'tls:'].includes(url.protocol) && url.hostname !== '' && ['', '/'].includes(url.pathname);
  return isServer && url.search === '' && url.hash === '' ? url : null;
}

function waysToLogIn({ nats, natsUser, natsCreds }: NatsValues): string[] {
  const ways: string[] = [];
  if (nats.user !== undefined || nats.token !== undefined) ways.push('the user in --nats');
  if (natsUser !== undefined) ways.push('--nats-user');
  if (natsCreds !== undefined) ways.push('--nats-creds');
  return ways;
}
