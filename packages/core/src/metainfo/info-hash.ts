import { IsthmusError } from '../errors.ts'
import { decodeBase32 } from './base32.ts'

declare const version: unique symbol

/** SHA-1 of an info dictionary (BEP 3): 40 lower-case hexadecimal digits. */
export type InfoHashV1 = string & { readonly [version]: 'v1' }
/** SHA-256 of an info dictionary (BEP 52): 64 lower-case hexadecimal digits. */
export type InfoHashV2 = string & { readonly [version]: 'v2' }
export type InfoHash = InfoHashV1 | InfoHashV2

/** What a torrent is known by: v1, v2, or for a hybrid both. At least one is there. */
export interface TorrentId {
  readonly v1?: InfoHashV1 | undefined
  readonly v2?: InfoHashV2 | undefined
}

const V1_BYTES = 20
const V2_BYTES = 32

/**
 * Reads 40 or 64 hexadecimal digits of either case, or 32 base32 characters.
 *
 * @throws IsthmusError `ISTHMUS_INFO_HASH_INVALID` for anything else.
 */
export function parseInfoHash(text: string): InfoHash {
  if (/^(?:[0-9a-f]{40}|[0-9a-f]{64})$/i.test(text)) return text.toLowerCase() as InfoHash
  const bytes = /^[a-z2-7]{32}$/i.test(text) ? decodeBase32(text) : undefined
  if (bytes !== undefined) return infoHashV1FromBytes(bytes)
  throw invalid('an info hash is 40 or 64 hexadecimal digits or 32 base32 characters')
}

export function torrentIdOf(hash: InfoHash): TorrentId {
  return isV1(hash) ? { v1: hash } : { v2: hash as InfoHashV2 }
}

/** A copy: 20 bytes of a v1 hash, 32 of a v2 hash. */
export function infoHashBytes(hash: InfoHash): Uint8Array {
  return Uint8Array.from(Buffer.from(hash, 'hex'))
}

/** @throws IsthmusError `ISTHMUS_INFO_HASH_INVALID` unless there are 20 bytes. */
export function infoHashV1FromBytes(bytes: Uint8Array): InfoHashV1 {
  return hexOf(bytes, V1_BYTES) as InfoHashV1
}

/** @throws IsthmusError `ISTHMUS_INFO_HASH_INVALID` unless there are 32 bytes. */
export function infoHashV2FromBytes(bytes: Uint8Array): InfoHashV2 {
  return hexOf(bytes, V2_BYTES) as InfoHashV2
}

/**
 * The 20 bytes that handshakes, trackers and the DHT know the torrent by: the v1 hash where there is
 * one, else the v2 hash cut to 20 bytes (BEP 52).
 */
export function wireInfoHash(id: TorrentId): Uint8Array {
  return infoHashBytes(primaryInfoHash(id)).slice(0, V1_BYTES)
}

/** The v1 hash where there is one, else the v2 hash. */
export function primaryInfoHash(id: TorrentId): InfoHash {
  const hash = id.v1 ?? id.v2
  if (hash === undefined) throw invalid('a torrent has a v1 or a v2 info hash')
  return hash
}

/** Whether the two share a v1 or a v2 hash. */
export function sameTorrent(a: TorrentId, b: TorrentId): boolean {
  return (a.v1 !== undefined && a.v1 === b.v1) || (a.v2 !== undefined && a.v2 === b.v2)
}

function isV1(hash: InfoHash): hash is InfoHashV1 {
  return hash.length === V1_BYTES * 2
}

function hexOf(bytes: Uint8Array, length: number): string {
  if (bytes.length !== length) throw invalid(`expected ${length} bytes, not ${bytes.length}`)
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('hex')
}

function invalid(message: string): IsthmusError {
  return new IsthmusError('ISTHMUS_INFO_HASH_INVALID', message)
}
