/**
 * Hands a message to a listener. The client calls back from inside its reader: an exception there would stop the reading
 * for ever without a word. So it is thrown again outside, where it ends the process as any other bug does.
 */
export function deliver<Message>(listener: (message: Message) => void, message: Message): void {
  try {
    listener(message);
  } catch (error) {
    setImmediate(() => {
      throw error;
    });
  }
}
