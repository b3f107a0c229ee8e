/** What an installation's things are called in NATS (DESIGN §4). */
export interface NatsNames {
  readonly prefix: string;
  readonly livenessBucket: string;
  readonly leadershipBucket: string;
  readonly snapshotStream: string;
  readonly snapshotSubject: string;
  /** Where workers tell how soon they took over what a snapshot gave them; not stored. */
  readonly appliedSubject: string;
  readonly recoveryStream: string;
  readonly recoverySubject: string;
  readonly tableStream: string;
  readonly tableSubject: string;
  /** Of the NATS micro services, as `nats micro ls` lists them. */
  readonly workerService: string;
  readonly coordinatorService: string;
  workerProbe(id: string): string;
  workerDrain(id: string): string;
  workerUndrain(id: string): string;
  coordinatorProbe(id: string): string;
}

const PREFIX_PATTERN = /^[A-Za-z0-9_-]*$/;

/**
 * The names of one installation; with a prefix (`blue`) several share one NATS: `blue_` before the names of buckets,
 * streams and services, `blue.` before subjects. `''`: no prefix.
 * @throws {RangeError} for a prefix with anything but letters, digits, `-` and `_`.
 */
export function natsNames(prefix: string): NatsNames {
  if (!PREFIX_PATTERN.test(prefix)) {
    throw new RangeError(`NATS prefix: expected letters, digits, "-" and "_", got ${JSON.stringify(prefix)}`);
  }
  const name = (base: string) => (prefix === '' ? base : `${prefix}_${base}`);
  const subject = (base: string) => (prefix === '' ? base : `${prefix}.${base}`);
  return {
    prefix,
    livenessBucket: name('workers'),
    leadershipBucket: name('coordinators'),
    snapshotStream: name('RING'),
    snapshotSubject: subject('ring.snapshot'),
    appliedSubject: subject('ring.applied'),
    recoveryStream: name('RECOVERY'),
    recoverySubject: subject('ring.recovery'),
    tableStream: name('TABLE'),
    tableSubject: subject('table.size'),
    workerService: name('worker'),
    coordinatorService: name('coordinator'),
    workerProbe: (id) => subject(`worker.${id}.probe`),
    workerDrain: (id) => subject(`worker.${id}.drain`),
    workerUndrain: (id) => subject(`worker.${id}.undrain`),
    coordinatorProbe: (id) => subject(`coordinator.${id}.probe`),
  };
}

/** A bucket is a stream; this is how every KV client finds it. */
export function streamOfBucket(bucket: string): string {
  return `KV_${bucket}`;
}

/** The subject that a bucket's key is put to; `>` for all keys. */
export function subjectOfKey(bucket: string, key: string): string {
  return `$KV.${bucket}.${key}`;
}
