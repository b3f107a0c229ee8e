import type { JetStreamManager, StreamConfig } from 'nats';

/** All that a client can see of a stream: its settings, its state and each message with its time. */
export interface StreamPicture {
  readonly created: string;
  readonly config: StreamConfig;
  readonly bytes: number;
  readonly firstSequence: number;
  readonly lastSequence: number;
  readonly messages: readonly { readonly sequence: number; readonly subject: string; readonly text: string }[];
}

/** Two equal pictures: nothing was changed, added or removed in between. */
export async function takePicture(manager: JetStreamManager, name: string): Promise<StreamPicture> {
  const { created, config, state } = await manager.streams.info(name);
  const messages: { sequence: number; subject: string; text: string }[] = [];
  for (let seq = state.first_seq; seq <= state.last_seq; seq += 1) {
    const message = await manager.streams.getMessage(name, { seq }).catch(() => null);
    if (message === null) continue;
    const text = `${message.timestamp} ${message.header?.toString() ?? ''} ${new TextDecoder().decode(message.data)}`;
    messages.push({ sequence: seq, subject: message.subject, text });
  }
  const { bytes, first_seq: firstSequence, last_seq: lastSequence } = state;
  return { created, config, bytes, firstSequence, lastSequence, messages };
}
