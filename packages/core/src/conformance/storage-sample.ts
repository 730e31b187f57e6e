import { createCipheriv, createHash } from 'node:crypto'
import { encodeBencode } from '../metainfo/bencode.ts'
import { type Metainfo, parseMetainfo } from '../metainfo/metainfo.ts'

/** A torrent and all its bytes, as offsets in the torrent count them. */
export interface StorageSample {
  readonly metainfo: Metainfo
  readonly content: Uint8Array
}

const PIECE_LENGTH = 32_768
const PADDING = ['.pad', '5000']

// Pieces that span files, files that span pieces, boundaries that meet, an empty file, padding, and a
// last piece that is short.
const FILES: readonly { readonly path: readonly string[]; readonly length: number }[] = [
  { path: ['one'], length: 40_000 },
  { path: ['folder', 'two'], length: 1 },
  { path: ['folder', 'empty'], length: 0 },
  { path: ['folder', 'deep', 'three'], length: 53_303 },
  { path: PADDING, length: 5000 },
  { path: ['four'], length: 2 * PIECE_LENGTH },
  { path: ['five'], length: 777 },
]

/** The same layout, name and paths for every seed; other bytes, and so another info hash. */
export function storageSample(seed: number): StorageSample {
  const length = FILES.reduce((sum, file) => sum + file.length, 0)
  const key = createHash('sha256').update(`storage conformance ${seed}`).digest()
  const cipher = createCipheriv('aes-256-ctr', key, new Uint8Array(16))
  const content = new Uint8Array(cipher.update(new Uint8Array(length)))
  let offset = 0
  for (const { path, length } of FILES) {
    if (path === PADDING) content.fill(0, offset, offset + length)
    offset += length
  }
  const info = {
    files: FILES.map(({ path, length }) => ({
      ...(path === PADDING ? { attr: 'p' } : {}),
      length,
      path,
    })),
    name: 'isthmus storage conformance',
    'piece length': PIECE_LENGTH,
    pieces: pieceHashes(content),
  }
  return { metainfo: parseMetainfo(encodeBencode({ info })), content }
}

/** A torrent whose files start at piece boundaries (BEP 52), with gaps of zeros in front of them. */
export function alignedSample(): StorageSample {
  const file = (length: number) => ({
    '': { length, 'pieces root': createHash('sha256').update(`${length}`).digest() },
  })
  const info = {
    'file tree': { a: file(20_000), b: file(PIECE_LENGTH), c: file(1), d: file(30_000) },
    'meta version': 2,
    name: 'isthmus storage conformance, aligned',
    'piece length': PIECE_LENGTH,
  }
  const metainfo = parseMetainfo(encodeBencode({ info, 'piece layers': {} }))
  const content = new Uint8Array(metainfo.layout.length)
  for (const { index, offset, length } of metainfo.files) {
    content.fill(index + 1, offset, offset + length)
  }
  return { metainfo, content }
}

function pieceHashes(content: Uint8Array): Uint8Array {
  const hashes: Uint8Array[] = []
  for (let start = 0; start < content.length; start += PIECE_LENGTH) {
    const piece = content.subarray(start, start + PIECE_LENGTH)
    hashes.push(createHash('sha1').update(piece).digest())
  }
  return Buffer.concat(hashes)
}
