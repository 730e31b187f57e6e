import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { Layout } from '../metainfo/layout.ts'
import { WrittenBytes } from './written-bytes.ts'

describe('WrittenBytes', () => {
  test('knows exactly the bytes that were added, and padding and gaps without being told', () => {
    const torrent = fc.record({
      align: fc.boolean(),
      files: fc.array(fc.record({ length: fc.nat(40), padding: fc.boolean() }), {
        minLength: 1,
        maxLength: 8,
      }),
      runs: fc.array(fc.tuple(fc.nat(300), fc.nat(40), fc.integer({ min: 0, max: 9 })), {
        maxLength: 30,
      }),
    })
    fc.assert(
      fc.property(torrent, ({ align, files, runs }) => {
        const layout = new Layout({
          pieceLength: 16,
          files: files.map((file) => ({ ...file, padding: file.padding && !align })),
          align,
        })
        const { length } = layout
        const always = new Set<number>()
        for (const { file, range } of layout.filesOf({ start: 0, end: length })) {
          if (file === -1) for (let at = range.start; at < range.end; at++) always.add(at)
        }
        const known = new Set(always)
        const written = new WrittenBytes(layout)
        for (const [from, size, kind] of runs) {
          const start = Math.min(from, length)
          const end = Math.min(start + size, length)
          if (kind === 0 && start < length) {
            const piece = layout.pieceAt(start)
            const range = layout.pieceRange(piece)
            written.delete(piece)
            for (let at = range.start; at < range.end; at++) if (!always.has(at)) known.delete(at)
          } else {
            written.add({ start, end })
            for (let at = start; at < end; at++) known.add(at)
          }
        }
        for (let at = 0; at < length; at++) {
          expect(written.has({ start: at, end: at + 1 })).toBe(known.has(at))
        }
        for (const [from, size] of runs) {
          const start = Math.min(from, length)
          const end = Math.min(start + size, length)
          let all = true
          for (let at = start; at < end; at++) all &&= known.has(at)
          expect(written.has({ start, end })).toBe(all)
        }
        for (let piece = 0; piece < layout.pieceCount; piece++) {
          const range = layout.pieceRange(piece)
          let all = true
          for (let at = range.start; at < range.end; at++) all &&= known.has(at)
          expect(written.present.has(piece)).toBe(all)
        }
      }),
    )
  })
})
