import { createHash } from 'node:crypto'
import { Bitfield, type Metainfo } from '@isthmus/core'

/** What tells that a file is as we left it. */
export interface FileMark {
  readonly size: number
  readonly mtimeMs: number
  readonly ino: number
}

/** What is known of a torrent's files as of one sync. */
export interface TorrentState {
  readonly present: Bitfield
  readonly verified: Bitfield
  /** By index of the file; undefined where there was none. */
  readonly marks: readonly (FileMark | undefined)[]
  /** Written by `close()`: nothing was written to the files after it. */
  readonly clean: boolean
}

const HEADER = 'isthmus-torrent-state'
const VERSION = 1

/** A line that names the format, its version and the checksum of the rest, and a line of JSON. */
export function encodeTorrentState(infoHash: string, state: TorrentState): Uint8Array {
  const body = JSON.stringify({
    infoHash,
    clean: state.clean,
    pieces: state.present.length,
    present: Buffer.from(state.present.bytes).toString('base64'),
    verified: Buffer.from(state.verified.bytes).toString('base64'),
    files: state.marks.map((mark) => (mark ? [mark.size, mark.mtimeMs, mark.ino] : null)),
  })
  return Buffer.from(`${HEADER} ${VERSION} ${checksum(body)}\n${body}\n`)
}

/** @returns undefined where the bytes are damaged, of another format, or of another torrent. */
export function decodeTorrentState(
  bytes: Uint8Array,
  metainfo: Metainfo,
): TorrentState | undefined {
  const text = Buffer.from(bytes).toString('utf8')
  const [header, body, ...rest] = text.split('\n')
  if (body === undefined || rest.join('') !== '') return undefined
  if (header !== `${HEADER} ${VERSION} ${checksum(body)}`) return undefined
  try {
    return stateFrom(JSON.parse(body), metainfo)
  } catch {
    return undefined
  }
}

/** More than any state of this torrent takes. */
export function maxStateBytes({ layout, files }: Metainfo): number {
  return 4096 + layout.pieceCount + files.length * 128
}

function stateFrom(body: unknown, metainfo: Metainfo): TorrentState | undefined {
  if (!isRecord(body)) return undefined
  const { infoHash, clean, pieces, files } = body
  const { pieceCount } = metainfo.layout
  if (infoHash !== metainfo.infoHash || pieces !== pieceCount) return undefined
  if (typeof clean !== 'boolean') return undefined
  const present = bitfieldFrom(body.present, pieceCount)
  const verified = bitfieldFrom(body.verified, pieceCount)
  if (present === undefined || verified === undefined) return undefined
  if (!Array.isArray(files) || files.length !== metainfo.files.length) return undefined
  const marks = files.map(markFrom)
  return { present, verified, marks, clean }
}

function bitfieldFrom(text: unknown, length: number): Bitfield | undefined {
  if (typeof text !== 'string') return undefined
  return Bitfield.from(Buffer.from(text, 'base64'), length)
}

/** A mark that makes no sense equals no file, which costs a check. */
function markFrom(entry: unknown): FileMark | undefined {
  if (!Array.isArray(entry)) return undefined
  const [size, mtimeMs, ino] = entry as readonly unknown[]
  if (typeof size !== 'number' || typeof mtimeMs !== 'number' || typeof ino !== 'number') {
    return undefined
  }
  return { size, mtimeMs, ino }
}

function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null
}

function checksum(text: string): string {
  return createHash('sha256').update(text).digest('hex')
}
