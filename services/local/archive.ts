import { gunzipSync, inflateRawSync } from 'node:zlib';

/** Just enough of tar and zip to take one program out of a release, without a dependency or a command for it. */
export interface ArchivedFile {
  readonly path: string;
  readonly content: () => Buffer;
}

/** @throws {Error} when the bytes are not an archive of that kind, or are cut off. */
export function readArchive(fileName: string, bytes: Buffer): ArchivedFile[] {
  return fileName.endsWith('.tar.gz') ? readTar(gunzipSync(bytes)) : readZip(bytes);
}

const TAR_BLOCK_BYTES = 512;

function readTar(bytes: Buffer): ArchivedFile[] {
  const files: ArchivedFile[] = [];
  for (let offset = 0; offset + TAR_BLOCK_BYTES <= bytes.length; ) {
    const header = bytes.subarray(offset, offset + TAR_BLOCK_BYTES);
    if (header.every((byte) => byte === 0)) break;
    const path = readText(header.subarray(0, 100));
    const sizeBytes = Number.parseInt(readText(header.subarray(124, 136)), 8);
    const start = offset + TAR_BLOCK_BYTES;
    if (!(start + sizeBytes <= bytes.length)) throw new Error('the tar archive is cut off');
    const isFile = header[156] === 0 || header[156] === 0x30;
    if (isFile) files.push({ path, content: () => bytes.subarray(start, start + sizeBytes) });
    offset = start + Math.ceil(sizeBytes / TAR_BLOCK_BYTES) * TAR_BLOCK_BYTES;
  }
  return files;
}

function readText(field: Buffer): string {
  const end = field.indexOf(0);
  return field.toString('utf8', 0, end === -1 ? field.length : end).trim();
}

const ZIP_END = 0x06054b50;
const ZIP_END_BYTES = 22;
const ZIP_ENTRY = 0x02014b50;
const ZIP_STORED = 0;
const ZIP_DEFLATED = 8;

function readZip(bytes: Buffer): ArchivedFile[] {
  const end = findZipEnd(bytes);
  const files: ArchivedFile[] = [];
  let offset = bytes.readUInt32LE(end + 16);
  for (let left = bytes.readUInt16LE(end + 10); left > 0; left--) {
    if (bytes.readUInt32LE(offset) !== ZIP_ENTRY) throw new Error('the zip archive has a broken directory');
    const nameBytes = bytes.readUInt16LE(offset + 28);
    const entry = offset;
    const path = bytes.toString('utf8', entry + 46, entry + 46 + nameBytes);
    files.push({ path, content: () => readZipEntry(bytes, entry) });
    offset += 46 + nameBytes + bytes.readUInt16LE(offset + 30) + bytes.readUInt16LE(offset + 32);
  }
  return files;
}

function findZipEnd(bytes: Buffer): number {
  for (let offset = bytes.length - ZIP_END_BYTES; offset >= 0; offset--) {
    if (bytes.readUInt32LE(offset) === ZIP_END) return offset;
  }
  throw new Error('this is not a zip archive, or it is cut off');
}

function readZipEntry(bytes: Buffer, entry: number): Buffer {
  const method = bytes.readUInt16LE(entry + 10);
  const packedBytes = bytes.readUInt32LE(entry + 20);
  const local = bytes.readUInt32LE(entry + 42);
  // The local header's lengths may differ from the directory's.
  const start = local + 30 + bytes.readUInt16LE(local + 26) + bytes.readUInt16LE(local + 28);
  const packed = bytes.subarray(start, start + packedBytes);
  if (method === ZIP_STORED) return packed;
  if (method === ZIP_DEFLATED) return inflateRawSync(packed);
  throw new Error(`the zip archive uses compression method ${method}, which is not known here`);
}
