import { type NatsAddresses, type NatsValues, readNatsAddresses, toNatsConnection } from './nats.ts';
import { type Contradiction, hideCredentials, option, secret, text } from './options.ts';

/** A second login, in NATS' system account, whose events tell at once whose connection is gone. */
export const natsSystemOptions = {
  natsSystem: option(
    {
      flag: 'nats-system',
      variable: 'NATS_SYSTEM_URL',
      describe: 'NATS servers for a login in the system account, which tells of lost connections at once',
      defaultText: 'none: probes only',
      show: hideCredentials,
    },
    readNatsAddresses,
  ),
  natsSystemUser: text({
    flag: 'nats-system-user',
    variable: 'NATS_SYSTEM_USER',
    describe: 'user in the system account',
  }),
  natsSystemPassword: secret({
    flag: 'nats-system-password',
    variable: 'NATS_SYSTEM_PASSWORD',
    describe: "the system account user's password",
  }),
};

export interface NatsSystemValues {
  readonly natsSystem: NatsAddresses | undefined;
  readonly natsSystemUser: string | undefined;
  readonly natsSystemPassword: string | undefined;
}

export const natsSystemContradictions: readonly Contradiction<NatsSystemValues>[] = [
  {
    needs: ['natsSystemUser', 'natsSystemPassword'],
    check: ({ natsSystemUser, natsSystemPassword }) =>
      (natsSystemUser === undefined) === (natsSystemPassword === undefined)
        ? null
        : '--nats-system-user and --nats-system-password: expected both or neither, got only ' +
          `${natsSystemUser === undefined ? '--nats-system-password' : '--nats-system-user'}. Give the other one too, or leave both out.`,
  },
  {
    needs: ['natsSystem', 'natsSystemUser'],
    check: ({ natsSystem, natsSystemUser }) => {
      if (natsSystemUser === undefined) return null;
      if (natsSystem === undefined) {
        return '--nats-system-user: expected --nats-system too, which says where the servers are, got none. Give it, or leave the user out.';
      }
      const isTwice = natsSystem.user !== undefined || natsSystem.token !== undefined;
      if (!isTwice) return null;
      return 'the user in --nats-system and --nats-system-user: expected one way to log in, got 2. Leave out all but one.';
    },
  },
];

/** As `toNatsConnection`: TLS files and prefix are those of the main connection, the login is not. Null: not asked for. */
export function toNatsSystemConnection(values: NatsValues & NatsSystemValues) {
  if (values.natsSystem === undefined) return null;
  return toNatsConnection({
    ...values,
    nats: values.natsSystem,
    natsUser: values.natsSystemUser,
    natsPassword: values.natsSystemPassword,
    natsCreds: undefined,
  });
}
