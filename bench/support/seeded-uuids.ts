import { createHash } from 'node:crypto';

/** The same uuids (version 4 in shape) each time. */
export function seededUuids(count: number): string[] {
  return Array.from({ length: count }, (_, index) => {
    const hex = createHash('sha1').update(`row ${index}`).digest('hex');
    return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-4${hex.slice(13, 16)}-a${hex.slice(17, 20)}-${hex.slice(20, 32)}`;
  });
}
