import type { BencodeValue } from './bencode.ts'
import { invalidField, requireBytes, requireDict } from './dict-fields.ts'
import type { FileEntry } from './file-list.ts'
import { BLOCK_LENGTH } from './layout.ts'
import { MERKLE_HASH_BYTES, merkleRoot, paddingHash } from './merkle.ts'

/**
 * Reads the `piece layers` of a .torrent (BEP 52), copied: for every file that is longer than a piece
 * there is a layer, it has one hash per piece, and it hashes up to the file's root.
 */
export function readPieceLayers(
  value: BencodeValue | undefined,
  entries: readonly FileEntry[],
  pieceLength: number,
): Map<string, Uint8Array> {
  const layers = new Map<string, Uint8Array>()
  const padding = paddingHash(Math.log2(pieceLength / BLOCK_LENGTH))
  for (const entry of entries) {
    if (entry.padding || entry.piecesRoot === undefined || entry.length <= pieceLength) continue
    const root = Buffer.from(entry.piecesRoot)
    const dict = requireDict(value, 'piece layers')
    const layer = requireBytes(dict.get(root.toString('latin1')), 'piece layers of a file')
    if (layer.length !== Math.ceil(entry.length / pieceLength) * MERKLE_HASH_BYTES) {
      throw invalidField('piece layers', 'do not have one hash per piece')
    }
    // Equal files share a root, and are checked once.
    const key = root.toString('hex')
    if (layers.has(key)) continue
    if (!root.equals(merkleRoot(layer, padding))) {
      throw invalidField('piece layers', 'do not hash up to the root of the file')
    }
    layers.set(key, Uint8Array.from(layer))
  }
  return layers
}
