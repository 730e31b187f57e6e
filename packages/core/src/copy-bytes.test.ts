import { describe, expect, test } from 'vitest'
import { copyBytes } from './copy-bytes.ts'

const plain = (bytes: number) => new Uint8Array(bytes)
const shared = (bytes: number) => new Uint8Array(new SharedArrayBuffer(bytes))

describe.each([
  ['plain', 'plain', plain, plain],
  ['plain', 'shared', plain, shared],
  ['shared', 'plain', shared, plain],
  ['shared', 'shared', shared, shared],
] as const)('from %s to %s memory', (_from, _to, makeSource, makeTarget) => {
  test('all of the source is copied to its place, and nothing else', () => {
    for (const length of [0, 1, 7, 16, 1000]) {
      const source = makeSource(length + 4).subarray(2, 2 + length)
      source.forEach((_, index) => {
        source[index] = (index % 250) + 1
      })
      const target = makeTarget(length + 10).subarray(1)
      copyBytes(source, target, 3)
      expect([...target]).toEqual([0, 0, 0, ...source, ...new Array(6).fill(0)])
    }
  })
})

test('what does not fit is refused', () => {
  expect(() => copyBytes(new Uint8Array(5), new Uint8Array(8), 4)).toThrow(RangeError)
})
