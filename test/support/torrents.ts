import { createCipheriv, createHash } from 'node:crypto'

export interface TorrentFileContent {
  /** Components below the torrent's name. */
  readonly path: readonly string[]
  readonly bytes: Uint8Array
  /** A padding file (BEP 47): its bytes should be zeros. @defaultValue false */
  readonly padding?: boolean | undefined
}

export interface TorrentContent {
  /** @defaultValue 'content' */
  readonly name?: string | undefined
  /** Bytes alone make a single-file torrent. */
  readonly files: readonly TorrentFileContent[] | Uint8Array
  readonly pieceLength: number
  /** @defaultValue false */
  readonly private?: boolean | undefined
  /** One tier each. @defaultValue [] */
  readonly trackers?: readonly string[] | undefined
  /** @defaultValue [] */
  readonly webSeeds?: readonly string[] | undefined
}

export interface MadeTorrent {
  /** The bytes of the .torrent file. */
  readonly torrent: Uint8Array
  /** 40 lower-case hex digits. */
  readonly infoHash: string
  /** All files, padding included, one after the other: what offsets in the torrent count. */
  readonly content: Uint8Array
}

/**
 * A version 1 .torrent, made without any of the project's own code, so that a test does not prove
 * our encoder with our decoder.
 */
export function makeTorrent(options: TorrentContent): MadeTorrent {
  const { name = 'content', files, pieceLength, trackers = [], webSeeds = [] } = options
  const content = files instanceof Uint8Array ? files : Buffer.concat(files.map((f) => f.bytes))
  const info = {
    ...(files instanceof Uint8Array
      ? { length: files.length }
      : {
          files: files.map(({ path, bytes, padding }) => ({
            ...(padding === true ? { attr: 'p' } : {}),
            length: bytes.length,
            path,
          })),
        }),
    name,
    'piece length': pieceLength,
    pieces: pieceHashes(content, pieceLength),
    ...(options.private === true ? { private: 1 } : {}),
  }
  const torrent = encode({
    ...(trackers[0] === undefined ? {} : { announce: trackers[0] }),
    ...(trackers.length > 1 ? { 'announce-list': trackers.map((url) => [url]) } : {}),
    info,
    ...(webSeeds.length > 0 ? { 'url-list': webSeeds } : {}),
  })
  const infoHash = createHash('sha1').update(encode(info)).digest('hex')
  return { torrent: new Uint8Array(torrent), infoHash, content: new Uint8Array(content) }
}

/** The same bytes for the same seed, without a pattern that could hide a wrong offset. */
export function randomBytes(length: number, seed: number): Uint8Array {
  const key = createHash('sha256').update(`seed ${seed}`).digest()
  const cipher = createCipheriv('aes-256-ctr', key, Buffer.alloc(16))
  return new Uint8Array(cipher.update(Buffer.alloc(length)))
}

function pieceHashes(content: Uint8Array, pieceLength: number): Uint8Array {
  const hashes: Uint8Array[] = []
  for (let start = 0; start < content.length; start += pieceLength) {
    const piece = content.subarray(start, start + pieceLength)
    hashes.push(createHash('sha1').update(piece).digest())
  }
  return Buffer.concat(hashes)
}

type Value = number | string | Uint8Array | readonly Value[] | { readonly [key: string]: Value }

function encode(value: Value): Buffer {
  if (typeof value === 'number') return Buffer.from(`i${value}e`)
  if (typeof value === 'string') return encode(Buffer.from(value))
  if (value instanceof Uint8Array) return Buffer.concat([Buffer.from(`${value.length}:`), value])
  const members = isList(value)
    ? value.map(encode)
    : Object.keys(value)
        .sort()
        .flatMap((key) => [encode(key), encode(value[key] ?? '')])
  return Buffer.concat([Buffer.from(isList(value) ? 'l' : 'd'), ...members, Buffer.from('e')])
}

function isList(value: Value): value is readonly Value[] {
  return Array.isArray(value)
}
