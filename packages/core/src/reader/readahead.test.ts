import { describe, expect, test } from 'vitest'
import { Readahead } from './readahead.ts'

const MIB = 1024 * 1024
const unbounded = Number.POSITIVE_INFINITY

describe('Readahead', () => {
  test('begins with little, but always with the piece behind the one being read', () => {
    expect(new Readahead(16_384).bytes(unbounded)).toBe(MIB)
    expect(new Readahead(4 * MIB).bytes(unbounded)).toBe(8 * MIB)
  })

  test('grows with what was read in a row, several times as fast', () => {
    const readahead = new Readahead(16_384)
    let before = readahead.bytes(unbounded)
    for (let chunk = 0; chunk < 10; chunk++) {
      readahead.read(131_072)
      const bytes = readahead.bytes(unbounded)
      expect(bytes - before).toBeGreaterThan(131_072)
      before = bytes
    }
  })

  test('never exceeds what there is room for, which may change', () => {
    const readahead = new Readahead(4 * MIB)
    readahead.read(100 * MIB)
    expect(readahead.bytes(32 * MIB)).toBe(32 * MIB)
    expect(readahead.bytes(100_000)).toBe(100_000)
    expect(readahead.bytes(16 * MIB)).toBe(16 * MIB)
  })

  test.each([MIB / 3, 0.5, 0])('is a whole number of bytes, and at least one: %d', (maxBytes) => {
    const bytes = new Readahead(16_384).bytes(maxBytes)
    expect(Number.isSafeInteger(bytes)).toBe(true)
    expect(bytes).toBeGreaterThanOrEqual(1)
    expect(bytes).toBeLessThanOrEqual(Math.max(1, maxBytes))
  })
})
