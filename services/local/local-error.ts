export type LocalErrorCode = 'no-nats-server' | 'no-postgres' | 'server-failed' | 'port-taken' | 'service-failed';

/** Why everything on this machine cannot start; the message is all a person needs, without a stack trace. */
export class LocalError extends Error {
  readonly code: LocalErrorCode;

  constructor(code: LocalErrorCode, message: string) {
    super(message);
    this.name = 'LocalError';
    this.code = code;
  }
}
