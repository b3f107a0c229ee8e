/** Reading the client's errors: which of them are expected outcomes, and what to call them. */
import { ErrorCode, NatsError } from 'nats';

/** Server error codes (`err_code`), the same in all versions. Source: nats-server, server/errors.json. */
const STREAM_NOT_FOUND = 10059;
const NO_MESSAGE_FOUND = 10037;
const STREAM_NAME_IN_USE = 10058;
const SUBJECTS_OVERLAP = 10065;
const INVALID_STREAM_CONFIG = 10052;
const OTHER_STREAM = 10060;
/** The second one is a cluster's answer while another write of the same subject is under way. */
const WRONG_LAST_SEQUENCE = [10071, 10164];

export function isStreamMissing(error: unknown): boolean {
  return apiCode(error) === STREAM_NOT_FOUND;
}

export function isMessageMissing(error: unknown): boolean {
  return apiCode(error) === NO_MESSAGE_FOUND;
}

/** Somebody made it meanwhile, with other settings. */
export function isStreamNameInUse(error: unknown): boolean {
  return apiCode(error) === STREAM_NAME_IN_USE;
}

export function isWrongSequence(error: unknown): boolean {
  return WRONG_LAST_SEQUENCE.includes(apiCode(error) ?? 0);
}

/** Another stream has our subjects, wholly or in part. */
export function isSubjectOverlap(error: unknown): boolean {
  return apiCode(error) === SUBJECTS_OVERLAP;
}

/** An existing stream's setting that no update changes, such as its storage. */
export function isImmutableSetting(error: unknown): boolean {
  return apiCode(error) === INVALID_STREAM_CONFIG && /can ?not (change|unseal|be)/.test(describeNatsError(error));
}

/** Another stream than the expected one has the subject. It stored nothing. */
export function isOtherStream(error: unknown): boolean {
  return apiCode(error) === OTHER_STREAM;
}

/** JetStream's own answer, not a failure on the way there. */
export function isApiError(error: unknown): boolean {
  return apiCode(error) !== undefined;
}

/** Nobody listens on the subject. The client gives JetStream's own 503 answers the same code, but with an API error. */
export function isNoResponders(error: unknown): boolean {
  return codeOf(error) === ErrorCode.NoResponders && apiCode(error) === undefined;
}

/** No answer came, for whatever reason: what was asked for may have been done or not. */
export function isSilence(error: unknown): boolean {
  return codeOf(error) === ErrorCode.Timeout || isNoResponders(error);
}

export function isPermissionDenied(error: unknown): boolean {
  return codeOf(error) === ErrorCode.PermissionsViolation;
}

/** JetStream is not there yet (starting, choosing a leader) or out of reach: it may well be in a moment. */
export function isTemporary(error: unknown): boolean {
  if (isSilence(error) || codeOf(error) === ErrorCode.Disconnect) return true;
  return error instanceof NatsError && error.api_error?.code === 503;
}

/** In words; the client's message is often only a code. */
export function describeNatsError(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  if (isNoResponders(error)) return 'nobody answers there (no responders)';
  switch (codeOf(error)) {
    case ErrorCode.Timeout:
      return 'no answer in time';
    case ErrorCode.ConnectionRefused:
      return 'connection refused';
    case ErrorCode.Disconnect:
      return 'the connection was lost';
    case ErrorCode.ConnectionClosed:
      return 'the connection is closed';
    case ErrorCode.MaxPayloadExceeded:
      return 'the message is larger than the server takes (max_payload)';
    case ErrorCode.ConnectionDraining:
      return 'the connection is being closed';
  }
  const apiError = error instanceof NatsError ? error.api_error : undefined;
  if (apiError !== undefined) return `${apiError.description} (${apiError.err_code})`;
  return error.message.replace(/^'(.*)'$/, '$1');
}

export function codeOf(error: unknown): string {
  return error instanceof Error && 'code' in error ? String(error.code) : '';
}

/** JetStream's own code; undefined: the error is not JetStream's. */
export function apiCode(error: unknown): number | undefined {
  return error instanceof NatsError ? error.api_error?.err_code : undefined;
}
