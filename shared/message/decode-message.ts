import type * as z from 'zod';

/** What came over the wire, or why it cannot be used: what was expected and what came. Pure. */
export type Message<Value> =
  | { readonly ok: true; readonly value: Value }
  | { readonly ok: false; readonly reason: string };

const utf8 = new TextDecoder('utf-8', { fatal: true });

/** Reads JSON of limited size. Never throws; a bad message stays bad: retrying cannot help. */
export function readJson(bytes: Uint8Array, maxBytes: number): Message<unknown> {
  if (bytes.length > maxBytes) return { ok: false, reason: `expected at most ${maxBytes} bytes, got ${bytes.length}` };
  try {
    return { ok: true, value: JSON.parse(utf8.decode(bytes)) };
  } catch (error) {
    return { ok: false, reason: `expected JSON, got ${bytes.length} bytes that are none: ${(error as Error).message}` };
  }
}

/** Reads JSON and checks it against a schema; unknown fields go or stay as the schema says. Never throws. */
export function decodeMessage<Value>(
  schema: z.ZodType<Value>,
  bytes: Uint8Array,
  { maxBytes }: { readonly maxBytes: number },
): Message<Value> {
  const read = readJson(bytes, maxBytes);
  if (!read.ok) return read;
  const parsed = schema.safeParse(read.value);
  if (parsed.success) return { ok: true, value: parsed.data };
  const [issue, ...others] = parsed.error.issues;
  const more = others.length > 0 ? ` (and ${others.length} more)` : '';
  return { ok: false, reason: `${issue?.path.join('.') || 'value'}: ${issue?.message ?? 'unfit'}${more}` };
}

/** For a history that people read: garbage in it is nothing. */
export function decodeOrNull<Value>(schema: z.ZodType<Value>, bytes: Uint8Array, maxBytes: number): Value | null {
  const decoded = decodeMessage(schema, bytes, { maxBytes });
  return decoded.ok ? decoded.value : null;
}
