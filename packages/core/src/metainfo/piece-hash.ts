import { MERKLE_HASH_BYTES } from './merkle.ts'
import type { Metainfo } from './metainfo.ts'

const SHA1_BYTES = 20

/**
 * The SHA-1 of a piece (a view). @throws RangeError where there is no such piece, or where the
 * torrent is v2 only.
 */
export function pieceHash(metainfo: Metainfo, index: number): Uint8Array {
  const { pieceHashes, layout } = metainfo
  if (pieceHashes === undefined) throw new RangeError('a v2 torrent has no SHA-1 hashes')
  layout.pieceRange(index)
  return pieceHashes.subarray(index * SHA1_BYTES, (index + 1) * SHA1_BYTES)
}

/**
 * The tree hash of a v2 piece (BEP 52): of a file no longer than a piece its root, else its hash from
 * the piece layer. Undefined where the piece layers are not known yet, and for v1 torrents.
 */
export function pieceHashV2(metainfo: Metainfo, index: number): Uint8Array | undefined {
  const { layout, files, pieceLayers } = metainfo
  const { start } = layout.pieceRange(index)
  const [span] = layout.filesOf({ start, end: start + 1 })
  const file = files[span?.file ?? -1]
  if (file?.piecesRoot === undefined) return undefined
  if (file.length <= layout.pieceLength) return file.piecesRoot
  const layer = pieceLayers.get(Buffer.from(file.piecesRoot).toString('hex'))
  const offset = ((start - file.offset) / layout.pieceLength) * MERKLE_HASH_BYTES
  return layer?.subarray(offset, offset + MERKLE_HASH_BYTES)
}
