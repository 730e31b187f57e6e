import { createHash } from 'node:crypto'
import { IsthmusError } from '../errors.ts'
import { defaultLimits, type Limits } from '../limits.ts'
import { type BencodeDict, decodeBencode, encodeBencode } from './bencode.ts'
import { invalidField, optionalText, requireDict } from './dict-fields.ts'
import { type Info, readInfo } from './info.ts'
import {
  type InfoHash,
  infoHashV1FromBytes,
  infoHashV2FromBytes,
  primaryInfoHash,
  type TorrentId,
} from './info-hash.ts'
import type { Layout } from './layout.ts'
import { readPieceLayers } from './piece-layers.ts'
import type { SafePath } from './safe-path.ts'
import { announceTiers, webSeedsOf } from './source-fields.ts'

export { pieceHash, pieceHashV2 } from './piece-hash.ts'

/** A file of a torrent. Padding and symlinks are no files. */
export interface MetainfoFile {
  /** Its place in `Metainfo.files`. */
  readonly index: number
  /** Starts with the torrent's name in a torrent of many files. Two files may have equal paths. */
  readonly path: SafePath
  readonly length: number
  /** Where it starts in the torrent. */
  readonly offset: number
  /** The root of its hash tree, 32 bytes; of v2 files that are not empty. */
  readonly piecesRoot?: Uint8Array | undefined
}

/** All that is known of a torrent's content. Checked in whole: whoever holds one need not check again. */
export interface Metainfo {
  readonly id: TorrentId
  /** The v1 hash where there is one, else the v2 hash. */
  readonly infoHash: InfoHash
  readonly name: string
  readonly version: 'v1' | 'v2' | 'hybrid'
  readonly layout: Layout
  /** Bytes of all files, without padding and gaps. */
  readonly length: number
  readonly files: readonly MetainfoFile[]
  /** Whether paths start with the torrent's name as a directory. */
  readonly multiFile: boolean
  /** BEP 27: peers come from the trackers alone. */
  readonly private: boolean
  /** Tiers of http, https and udp URLs (BEP 12). */
  readonly trackers: readonly (readonly string[])[]
  /** http and https URLs (BEP 19). */
  readonly webSeeds: readonly string[]
  readonly comment?: string | undefined
  readonly createdBy?: string | undefined
  readonly creationDate?: Date | undefined
  /** The info dictionary as it was found: what the info hashes are taken over. */
  readonly infoBytes: Uint8Array
  /** SHA-1 hashes, 20 bytes per piece, one after the other; a view of `infoBytes`. Of v1 and hybrid torrents. */
  readonly pieceHashes?: Uint8Array | undefined
  /**
   * One SHA-256 tree hash per piece of a file, by the hexadecimal root of the file; of files longer
   * than a piece. Empty for v1, and where the metadata came from peers.
   */
  readonly pieceLayers: ReadonlyMap<string, Uint8Array>
}

export interface MetainfoOptions {
  /** @defaultValue the default limits */
  readonly limits?: Limits | undefined
}

/** What a .torrent says beside its info dictionary. */
export interface MetainfoSources {
  readonly trackers?: readonly (readonly string[])[] | undefined
  readonly webSeeds?: readonly string[] | undefined
}

export interface InfoOptions extends MetainfoOptions, MetainfoSources {
  /** Hashes that the bytes must have, every one that is given. */
  readonly expect?: TorrentId | undefined
}

/**
 * Reads a .torrent (BEP 3, 12, 19, 27, 47, 52). Optional fields that make no sense are left out. Keeps
 * no view of `bytes`.
 *
 * @throws IsthmusError `ISTHMUS_BENCODE_INVALID`, `ISTHMUS_METAINFO_INVALID` (names the field),
 * `ISTHMUS_METAINFO_UNSUPPORTED`, `ISTHMUS_METAINFO_TOO_LARGE` or `ISTHMUS_PATH_UNSAFE`.
 */
export function parseMetainfo(bytes: Uint8Array, options: MetainfoOptions = {}): Metainfo {
  const { limits = defaultLimits } = options
  const torrent = decodeDict(bytes, 'the torrent', limits)
  const dict = requireDict(torrent.get('info'), 'info')
  const span = torrent.span('info') ?? new Uint8Array()
  const info = readInfo(dict, limits)
  const creationDate = torrent.get('creation date')
  return createMetainfo(info, span, {
    trackers: announceTiers(torrent, limits.trackers),
    webSeeds: webSeedsOf(torrent, limits.webSeeds),
    comment: shortText(torrent.get('comment.utf-8')) ?? shortText(torrent.get('comment')),
    createdBy: shortText(torrent.get('created by')),
    creationDate: typeof creationDate === 'number' ? dateOf(creationDate) : undefined,
    pieceLayers: info.v2
      ? readPieceLayers(torrent.get('piece layers'), info.v2.entries, info.pieceLength)
      : new Map(),
  })
}

/**
 * Reads an info dictionary that came alone, from peers (BEP 9). Keeps no view of `infoBytes`.
 *
 * @throws IsthmusError like {@link parseMetainfo}; `ISTHMUS_METAINFO_INVALID` where the bytes have
 * another hash than expected.
 */
export function metainfoFromInfo(infoBytes: Uint8Array, options: InfoOptions = {}): Metainfo {
  const { limits = defaultLimits, expect = {}, trackers = [], webSeeds = [] } = options
  assertBytes(infoBytes, limits)
  // Before anything is read: what a peer sent is not even decoded until it is what was asked for.
  if (
    (expect.v1 !== undefined && expect.v1 !== hashV1(infoBytes)) ||
    (expect.v2 !== undefined && expect.v2 !== hashV2(infoBytes))
  ) {
    throw invalidField('info', 'has another info hash')
  }
  const info = readInfo(decodeDict(infoBytes, 'info', limits), limits)
  const metainfo = createMetainfo(info, infoBytes, { trackers, webSeeds, pieceLayers: new Map() })
  if (
    (expect.v1 !== undefined && metainfo.id.v1 === undefined) ||
    (expect.v2 !== undefined && metainfo.id.v2 === undefined)
  ) {
    throw invalidField('info', 'is not of the version that its info hash is of')
  }
  return metainfo
}

/**
 * Writes a .torrent around the original info dictionary.
 *
 * @throws IsthmusError `ISTHMUS_METADATA_MISSING` where a v2 torrent came from peers without its piece
 * layers: BEP 52 has no .torrent without them.
 */
export function encodeMetainfo(metainfo: Metainfo, options: MetainfoSources = {}): Uint8Array {
  const { trackers = metainfo.trackers, webSeeds = metainfo.webSeeds } = options
  const tiers = trackers.filter((tier) => tier.length > 0)
  const { creationDate } = metainfo
  // Keys sort around `info`, whose bytes must stay as they are.
  const before = encodeBencode({
    announce: tiers[0]?.[0],
    'announce-list': tiers.length > 1 || (tiers[0]?.length ?? 0) > 1 ? tiers : undefined,
    comment: metainfo.comment,
    'created by': metainfo.createdBy,
    'creation date': creationDate && Math.floor(creationDate.getTime() / 1000),
  })
  const after = encodeBencode({
    'piece layers': metainfo.version === 'v1' ? undefined : layersOf(metainfo),
    'url-list': webSeeds.length > 0 ? webSeeds : undefined,
  })
  const parts = [
    before.subarray(0, -1),
    Buffer.from('4:info'),
    metainfo.infoBytes,
    after.subarray(1),
  ]
  return Uint8Array.from(Buffer.concat(parts))
}

type Beside = Pick<
  Metainfo,
  'trackers' | 'webSeeds' | 'comment' | 'createdBy' | 'creationDate' | 'pieceLayers'
>

/** @param span - where `info` was decoded from */
function createMetainfo(info: Info, span: Uint8Array, beside: Beside): Metainfo {
  const infoBytes = Uint8Array.from(span)
  // Views move to the copy: otherwise each would keep the whole .torrent.
  const own = (view: Uint8Array) => {
    const start = view.byteOffset - span.byteOffset
    return infoBytes.subarray(start, start + view.length)
  }
  const files: MetainfoFile[] = []
  let length = 0
  for (const entry of info.entries) {
    if (entry.padding) continue
    const { path, piecesRoot } = entry
    const index = files.length
    files.push({
      index,
      path,
      length: entry.length,
      offset: info.layout.fileOffset(index),
      ...(piecesRoot && { piecesRoot: own(piecesRoot) }),
    })
    length += entry.length
  }
  const id: TorrentId = {
    ...(info.v1 && { v1: hashV1(infoBytes) }),
    ...(info.v2 && { v2: hashV2(infoBytes) }),
  }
  return {
    id,
    infoHash: primaryInfoHash(id),
    name: info.name,
    version: info.v1 === undefined ? 'v2' : info.v2 === undefined ? 'v1' : 'hybrid',
    layout: info.layout,
    length,
    files,
    multiFile: info.multiFile,
    private: info.private,
    ...beside,
    infoBytes,
    pieceHashes: info.v1 && own(info.v1.pieces),
  }
}

function decodeDict(bytes: Uint8Array, subject: string, limits: Limits): BencodeDict {
  assertBytes(bytes, limits)
  const { bencodeDepth: maxDepth, bencodeTokens: maxTokens } = limits
  return requireDict(decodeBencode(bytes, { maxDepth, maxTokens }), subject)
}

function assertBytes(bytes: Uint8Array, limits: Limits): void {
  if (bytes.length <= limits.metainfoBytes) return
  throw new IsthmusError(
    'ISTHMUS_METAINFO_TOO_LARGE',
    `${bytes.length} bytes of metainfo are over the limit of ${limits.metainfoBytes}`,
  )
}

function hashV1(infoBytes: Uint8Array) {
  return infoHashV1FromBytes(createHash('sha1').update(infoBytes).digest())
}

function hashV2(infoBytes: Uint8Array) {
  return infoHashV2FromBytes(createHash('sha256').update(infoBytes).digest())
}

/** Kept for as long as the torrent, so what is no comment but a cargo is left out. */
const MAX_TEXT_CHARACTERS = 16_384

function shortText(value: ReturnType<BencodeDict['get']>): string | undefined {
  const text = optionalText(value)
  return text !== undefined && text.length <= MAX_TEXT_CHARACTERS ? text : undefined
}

function dateOf(seconds: number): Date | undefined {
  const date = new Date(seconds * 1000)
  return Number.isNaN(date.getTime()) ? undefined : date
}

function layersOf(metainfo: Metainfo): Map<string, Uint8Array> {
  const layers = new Map<string, Uint8Array>()
  for (const { length, piecesRoot } of metainfo.files) {
    if (piecesRoot === undefined || length <= metainfo.layout.pieceLength) continue
    const root = Buffer.from(piecesRoot)
    const layer = metainfo.pieceLayers.get(root.toString('hex'))
    if (layer === undefined) {
      throw new IsthmusError('ISTHMUS_METADATA_MISSING', 'the piece layers are not known')
    }
    layers.set(root.toString('latin1'), layer)
  }
  return layers
}
