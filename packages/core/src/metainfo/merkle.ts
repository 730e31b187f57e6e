import { createHash } from 'node:crypto'

/** Bytes of one hash of a v2 tree. */
export const MERKLE_HASH_BYTES = 32

/**
 * The root over one layer of a v2 hash tree (BEP 52).
 *
 * @param layer - hashes, one after the other; at least one
 * @param padding - the hash that stands for what lies behind the last one, see {@link paddingHash}
 */
export function merkleRoot(layer: Uint8Array, padding: Uint8Array): Uint8Array {
  let hashes = layer
  let filler = padding
  while (hashes.length > MERKLE_HASH_BYTES) {
    const parents = new Uint8Array(Math.ceil(hashes.length / 64) * MERKLE_HASH_BYTES)
    for (let offset = 0; offset < hashes.length; offset += 64) {
      const left = hashes.subarray(offset, offset + 32)
      const right = hashes.length - offset > 32 ? hashes.subarray(offset + 32, offset + 64) : filler
      parents.set(parentHash(left, right), offset / 2)
    }
    hashes = parents
    filler = parentHash(filler, filler)
  }
  return hashes
}

/** The hash of a subtree without content, `height` layers above the leaves (which are zeros). */
export function paddingHash(height: number): Uint8Array {
  let hash: Uint8Array = new Uint8Array(MERKLE_HASH_BYTES)
  for (let layer = 0; layer < height; layer++) hash = parentHash(hash, hash)
  return hash
}

function parentHash(left: Uint8Array, right: Uint8Array): Uint8Array {
  return createHash('sha256').update(left).update(right).digest()
}
