import { createHash } from 'node:crypto'
import { describe, expect, test } from 'vitest'
import { merkleRoot, paddingHash } from './merkle.ts'

const sha256 = (...parts: Uint8Array[]) =>
  createHash('sha256').update(Buffer.concat(parts)).digest()

/** As BEP 52 says it: leaves filled up with zeros to a power of two, then pairs. */
function rootOfLeaves(leaves: readonly Uint8Array[], width: number): Uint8Array {
  let layer = Array.from({ length: width }, (_, i) => leaves[i] ?? new Uint8Array(32))
  while (layer.length > 1) {
    layer = Array.from({ length: layer.length / 2 }, (_, i) =>
      sha256(...layer.slice(i * 2, i * 2 + 2)),
    )
  }
  return layer[0] ?? new Uint8Array(32)
}

describe('merkleRoot', () => {
  test.each([1, 2, 3, 4, 5, 7, 8, 9, 31, 33])(
    'agrees with the whole tree over %i leaves',
    (count) => {
      const leaves = Array.from({ length: count }, (_, i) => sha256(Uint8Array.of(i)))
      const width = 2 ** Math.ceil(Math.log2(count))
      const root = rootOfLeaves(leaves, width)
      expect(Buffer.from(merkleRoot(Buffer.concat(leaves), paddingHash(0)))).toEqual(
        Buffer.from(root),
      )
      // The same root from a layer further up, as piece layers give it.
      for (const height of [1, 2, 3].filter((each) => 2 ** each <= width)) {
        const span = 2 ** height
        const layer = Array.from({ length: Math.ceil(count / span) }, (_, i) =>
          rootOfLeaves(leaves.slice(i * span, (i + 1) * span), span),
        )
        const above = merkleRoot(Buffer.concat(layer), paddingHash(height))
        expect(Buffer.from(above)).toEqual(Buffer.from(root))
      }
    },
  )
})

test('a subtree without content hashes zeros', () => {
  const zeros = new Uint8Array(32)
  expect(paddingHash(0)).toEqual(zeros)
  expect(Buffer.from(paddingHash(2))).toEqual(sha256(sha256(zeros, zeros), sha256(zeros, zeros)))
})
