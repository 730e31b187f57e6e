import { createHash } from 'node:crypto'
import { BLOCK_LENGTH, type Metainfo, pieceHash, pieceHashV2 } from '@isthmus/core'

const PIECE_NAME = /^([0-9a-f]{40}|[0-9a-f]{64}(-\d{1,9}-\d{1,9})?)$/
const PART_NAME = /^[0-9a-f]{40}[0-9a-f-]*\.\d+\.part$/

/**
 * What the file of a piece is called: its hash, so that torrents with equal pieces share it. Of a v2
 * piece that does not fill its hash tree the name also says its size and the leaves of the tree: the
 * bytes of a block may be those of a node (BEP 52 does not tell them apart), so a tree of another
 * shape may have the same root over other bytes.
 */
export function pieceName(metainfo: Metainfo, piece: number): string {
  if (metainfo.pieceHashes !== undefined) return hex(pieceHash(metainfo, piece))
  const { layout, files } = metainfo
  const { start, end } = layout.pieceRange(piece)
  const size = end - start
  const [span] = layout.filesOf({ start, end })
  const fileLength = files[span?.file ?? -1]?.length ?? 0
  const leaves =
    fileLength <= layout.pieceLength ? leavesOf(size) : layout.pieceLength / BLOCK_LENGTH
  const hash = pieceHashV2(metainfo, piece)
  if (hash === undefined) return nameWithoutHash(metainfo, piece)
  return size === leaves * BLOCK_LENGTH ? hex(hash) : `${hex(hash)}-${size}-${leaves}`
}

export function isPieceName(name: string): boolean {
  return PIECE_NAME.test(name)
}

/** What the file of a piece in the making is called. */
export function partName(name: string, number: number): string {
  return `${name}.${number}.part`
}

export function isPartName(name: string): boolean {
  return PART_NAME.test(name)
}

/** The folder that a piece or part lies in, one of 256. */
export function shardOf(name: string): string {
  return name.slice(0, 2)
}

/** The piece layers are not known: what can be said of the piece is which one of which torrent it is. */
function nameWithoutHash({ infoHash }: Metainfo, piece: number): string {
  return createHash('sha256').update(`isthmus piece ${piece} of ${infoHash}`).digest('hex')
}

function leavesOf(size: number): number {
  return 2 ** Math.ceil(Math.log2(Math.max(1, Math.ceil(size / BLOCK_LENGTH))))
}

function hex(hash: Uint8Array): string {
  return Buffer.from(hash.buffer, hash.byteOffset, hash.byteLength).toString('hex')
}
