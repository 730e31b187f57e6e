import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { BLOCK_LENGTH, Layout } from './layout.ts'

const files = (...lengths: number[]) => lengths.map((length) => ({ length }))

describe('Layout of touching files', () => {
  const layout = new Layout({
    pieceLength: 32_768,
    files: [{ length: 40_000 }, { length: 0 }, { length: 25_536, padding: true }, { length: 1 }],
  })

  test('the last piece ends with the torrent', () => {
    expect(layout.length).toBe(65_537)
    expect(layout.pieceCount).toBe(3)
    expect(layout.pieceRange(2)).toEqual({ start: 65_536, end: 65_537 })
    expect(layout.pieceSize(1)).toBe(32_768)
  })

  test('the last block ends with the piece', () => {
    expect(layout.blockCount(0)).toBe(2)
    expect(layout.blockSize(0, 1)).toBe(BLOCK_LENGTH)
    expect([layout.blockCount(2), layout.blockSize(2, 0)]).toEqual([1, 1])
  })

  test('a range falls into spans of files, with padding and without empty files', () => {
    expect(layout.filesOf({ start: 39_999, end: 65_537 })).toEqual([
      { file: 0, fileRange: { start: 39_999, end: 40_000 }, range: { start: 39_999, end: 40_000 } },
      { file: -1, fileRange: { start: 0, end: 25_536 }, range: { start: 40_000, end: 65_536 } },
      { file: 2, fileRange: { start: 0, end: 1 }, range: { start: 65_536, end: 65_537 } },
    ])
    expect(layout.filesOf({ start: 40_000, end: 40_000 })).toEqual([])
  })

  test('files have their place, also the empty one', () => {
    expect([0, 1, 2].map((file) => layout.fileOffset(file))).toEqual([0, 40_000, 65_536])
  })

  test('pieces of a range are half-open, and none for an empty range', () => {
    expect(layout.piecesOf({ start: 0, end: 32_768 })).toEqual({ start: 0, end: 1 })
    expect(layout.piecesOf({ start: 32_767, end: 32_769 })).toEqual({ start: 0, end: 2 })
    expect(layout.piecesOf({ start: 5, end: 5 })).toEqual({ start: 0, end: 0 })
    expect(layout.pieceAt(65_536)).toBe(2)
  })

  test.each([
    ['piece', () => layout.pieceRange(3)],
    ['negative piece', () => layout.pieceRange(-1)],
    ['fraction of a piece', () => layout.pieceSize(0.5)],
    ['block', () => layout.blockSize(0, 2)],
    ['offset', () => layout.pieceAt(65_537)],
    ['range', () => layout.filesOf({ start: 0, end: 65_538 })],
    ['reversed range', () => layout.piecesOf({ start: 2, end: 1 })],
    ['file', () => layout.fileOffset(3)],
  ])('a %s outside of the torrent is a RangeError', (_, call) => {
    expect(call).toThrow(RangeError)
  })
})

describe('Layout', () => {
  test('an empty torrent has no pieces', () => {
    const layout = new Layout({ pieceLength: 16_384, files: files(0, 0) })
    expect([layout.length, layout.pieceCount]).toEqual([0, 0])
    expect(layout.piecesOf({ start: 0, end: 0 })).toEqual({ start: 0, end: 0 })
  })

  test('aligned files start at pieces, and their last piece ends with them', () => {
    const layout = new Layout({ pieceLength: 16_384, files: files(20_000, 0, 5), align: true })
    expect([layout.length, layout.pieceCount]).toEqual([32_773, 3])
    expect(layout.pieceRange(1)).toEqual({ start: 16_384, end: 20_000 })
    expect(layout.pieceRange(2)).toEqual({ start: 32_768, end: 32_773 })
    expect([0, 1, 2].map((file) => layout.fileOffset(file))).toEqual([0, 20_000, 32_768])
    expect(layout.filesOf({ start: 19_999, end: 32_769 }).map(({ file }) => file)).toEqual([
      0, -1, 2,
    ])
  })

  test('works past 2^32 bytes', () => {
    const size = 3 * 2 ** 40
    const layout = new Layout({ pieceLength: 2 ** 24, files: files(size, 1) })
    expect(layout.pieceAt(size)).toBe(size / 2 ** 24)
    expect(layout.filesOf({ start: size - 1, end: size + 1 }).map(({ file }) => file)).toEqual([
      0, 1,
    ])
  })

  test.each([
    ['a piece length of 0', { pieceLength: 0, files: files(1) }],
    ['a negative length', { pieceLength: 1, files: files(2, -1) }],
    ['lengths past 2^53', { pieceLength: 1, files: files(2 ** 53 - 1, 1) }],
  ])('%s is refused', (_, options) => {
    expect(() => new Layout(options)).toThrow(RangeError)
  })

  test('pieces and spans of files each cover every byte once', () => {
    const file = fc.record({ length: fc.nat(70), padding: fc.boolean() })
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 40 }),
        fc.array(file),
        fc.boolean(),
        (pieceLength, files, align) => {
          const layout = new Layout({ pieceLength, files, align })
          const total = files.reduce((sum, { length }) => sum + length, 0)
          const ranges = Array.from({ length: layout.pieceCount }, (_, i) => layout.pieceRange(i))
          const inPieces = ranges.reduce((sum, { start, end }) => sum + end - start, 0)
          expect(inPieces).toBe(align ? total : layout.length)
          let offset = 0
          const sizes = new Map<number, number>()
          for (const { file, fileRange, range } of layout.filesOf({
            start: 0,
            end: layout.length,
          })) {
            expect(range.start).toBe(offset)
            expect(range.end).toBeGreaterThan(range.start)
            expect(fileRange).toEqual({ start: 0, end: range.end - range.start })
            if (file >= 0) expect(layout.fileOffset(file)).toBe(range.start)
            if (align && file >= 0) expect(range.start % pieceLength).toBe(0)
            sizes.set(file, range.end - range.start)
            offset = range.end
          }
          expect(offset).toBe(layout.length)
          const listed = files.filter(({ padding }) => !padding)
          listed.forEach(({ length }, index) => {
            expect(sizes.get(index) ?? 0).toBe(length)
          })
          for (const [index, { start, end }] of ranges.entries()) {
            expect(layout.piecesOf({ start, end })).toEqual({ start: index, end: index + 1 })
          }
        },
      ),
      { numRuns: 1000 },
    )
  })
})
