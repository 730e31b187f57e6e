import { IsthmusError } from './errors.ts'
import type { Limits } from './limits.ts'
import {
  BencodeDict,
  type BencodeInput,
  type BencodeValue,
  decodeBencode,
  encodeBencode,
} from './metainfo/bencode.ts'
import { parseInfoHash, type TorrentId, torrentIdOf } from './metainfo/info-hash.ts'
import { type Metainfo, metainfoFromInfo } from './metainfo/metainfo.ts'

/**
 * Where a client remembers its torrents across restarts: one record for each, so that a broken one
 * costs itself alone. Implement it for your medium.
 */
export interface SessionStore {
  /** Every record, in any order. One that cannot be read is left out. */
  load(): Promise<readonly Uint8Array[]>
  /** Replaces the record of `key` in one step; it lasts once this resolves. Takes over `record`. */
  save(key: string, record: Uint8Array): Promise<void>
  /** Nothing happens where there is no such record. */
  delete(key: string): Promise<void>
}

/** What is remembered of one torrent. */
export interface SessionRecord {
  readonly id: TorrentId
  readonly name?: string | undefined
  readonly metainfo?: Metainfo | undefined
  readonly trackers: readonly (readonly string[])[]
  /** Bytes of blocks in all runs together. */
  readonly downloaded: number
  readonly uploaded: number
}

const VERSION = 1

export function encodeSessionRecord(record: SessionRecord): Uint8Array {
  const { id, name, metainfo, trackers, downloaded, uploaded } = record
  return encodeBencode({
    version: VERSION,
    hashes: [id.v1, id.v2].filter((hash) => hash !== undefined),
    ...(name === undefined ? {} : { name }),
    ...(metainfo === undefined ? {} : { info: metainfo.infoBytes }),
    trackers: trackers as BencodeInput,
    downloaded,
    uploaded,
  })
}

/** @throws IsthmusError for anything that is no record: `ISTHMUS_BENCODE_INVALID`, `ISTHMUS_METAINFO_INVALID`, … */
export function decodeSessionRecord(bytes: Uint8Array, limits: Limits): SessionRecord {
  const value = decodeBencode(bytes)
  if (!(value instanceof BencodeDict) || value.get('version') !== VERSION) throw unreadable()
  const hashes = textsOf(value.get('hashes')).map((hash) => torrentIdOf(parseInfoHash(hash)))
  const id: TorrentId = Object.assign({}, ...hashes)
  if (hashes.length === 0) throw unreadable()
  const tiers = value.get('trackers')
  const trackers = Array.isArray(tiers) ? tiers.map(textsOf) : []
  const info = value.get('info')
  return {
    id,
    name: textOf(value.get('name')),
    metainfo:
      info instanceof Uint8Array
        ? metainfoFromInfo(info, { limits, expect: id, trackers })
        : undefined,
    trackers,
    downloaded: countOf(value.get('downloaded')),
    uploaded: countOf(value.get('uploaded')),
  }
}

function textsOf(value: BencodeValue | undefined): string[] {
  if (!Array.isArray(value)) return []
  return value.map(textOf).filter((text) => text !== undefined)
}

function textOf(value: BencodeValue | undefined): string | undefined {
  return value instanceof Uint8Array ? new TextDecoder().decode(value) : undefined
}

function countOf(value: BencodeValue | undefined): number {
  return typeof value === 'number' && value >= 0 ? value : 0
}

function unreadable(): IsthmusError {
  return new IsthmusError('ISTHMUS_SESSION_INVALID', 'this is no record of a torrent')
}
