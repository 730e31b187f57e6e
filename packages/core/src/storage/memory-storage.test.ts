import { describe, expect, test } from 'vitest'
import { makeTorrent, randomBytes } from '../../../../test/support/torrents.ts'
import { storageConformance } from '../conformance/storage.ts'
import { parseMetainfo } from '../metainfo/metainfo.ts'
import { MemoryStorage } from './memory-storage.ts'

const PIECE = 16_384
const { torrent, content } = makeTorrent({
  files: randomBytes(3 * PIECE + 100, 1),
  pieceLength: PIECE,
})
const metainfo = parseMetainfo(torrent)
const piece = (index: number) => content.slice(index * PIECE, (index + 1) * PIECE)

describe('MemoryStorage keeps the storage contract', () => {
  const setup = async () => ({ open: async () => new MemoryStorage({ maxBytes: 1_000_000 }) })
  for (const { name, run } of storageConformance(setup)) test(name, run)
})

describe('MemoryStorage', () => {
  test('a piece that is written whole is held by reference, and handed back once evicted', async () => {
    const recycled: Uint8Array[] = []
    const storage = new MemoryStorage({ recycle: (bytes) => recycled.push(bytes) })
    const pieces = await storage.open(metainfo)
    const bytes = piece(1)
    await pieces.write?.(PIECE, bytes)
    expect(storage.heldBytes).toBe(PIECE)
    expect(recycled).toEqual([])
    await pieces.evict?.(1)
    expect(recycled).toHaveLength(1)
    expect(recycled[0]).toBe(bytes)
    expect(storage.heldBytes).toBe(0)
    await pieces.close()
  })

  test('runs that are no whole piece are copied into a buffer of the piece', async () => {
    const recycled: Uint8Array[] = []
    const storage = new MemoryStorage({ recycle: (bytes) => recycled.push(bytes) })
    const pieces = await storage.open(metainfo)
    const run = content.slice(100, 2 * PIECE)
    await pieces.write?.(100, run)
    run.fill(0)
    const answer = await pieces.read({ start: 100, end: 2 * PIECE })
    expect(Buffer.compare(answer, content.slice(100, 2 * PIECE))).toBe(0)
    expect(storage.heldBytes).toBe(2 * PIECE)
    await pieces.close()
    expect(recycled.map((bytes) => bytes.length)).toEqual([PIECE, PIECE])
  })

  test('a piece in the making that is replaced by a whole one is handed back', async () => {
    const recycled: Uint8Array[] = []
    const storage = new MemoryStorage({ recycle: (bytes) => recycled.push(bytes) })
    const pieces = await storage.open(metainfo)
    await pieces.write?.(0, content.slice(0, 10))
    await pieces.write?.(0, piece(0))
    expect(recycled).toHaveLength(1)
    expect(storage.heldBytes).toBe(PIECE)
    expect(Buffer.compare(await pieces.read({ start: 0, end: PIECE }), piece(0))).toBe(0)
    await pieces.close()
  })

  test('nothing is held once all torrents are closed, and no buffer is handed back twice', async () => {
    const recycled: Uint8Array[] = []
    const storage = new MemoryStorage({ recycle: (bytes) => recycled.push(bytes) })
    const one = await storage.open(metainfo)
    const two = await storage.open(metainfo, { namespace: 'two' })
    for (const pieces of [one, two]) {
      for (let index = 0; index < 4; index++) await pieces.write?.(index * PIECE, piece(index))
    }
    expect(storage.heldBytes).toBe(2 * content.length)
    await one.evict?.(0)
    await one.close()
    await two.destroy?.()
    await two.close()
    expect(storage.heldBytes).toBe(0)
    expect(new Set(recycled).size).toBe(recycled.length)
    expect(recycled).toHaveLength(8)
  })

  test('committing a piece that was not written whole rejects with ISTHMUS_PIECE_MISSING', async () => {
    const pieces = await new MemoryStorage().open(metainfo)
    await pieces.write?.(0, content.slice(0, PIECE - 1))
    await expect(pieces.commit?.(0)).rejects.toMatchObject({ code: 'ISTHMUS_PIECE_MISSING' })
    await pieces.close()
  })

  test('a span outside the torrent, or a buffer of another size, is a RangeError', async () => {
    const pieces = await new MemoryStorage().open(metainfo)
    const outside = { start: 0, end: content.length + 1 }
    await expect(pieces.read(outside)).rejects.toThrow(RangeError)
    await expect(pieces.write?.(content.length, new Uint8Array(1))).rejects.toThrow(RangeError)
    const into = new Uint8Array(2)
    await expect(pieces.read({ start: 0, end: 1 }, { into })).rejects.toThrow(RangeError)
    await pieces.close()
  })

  test('a capacity that is no positive integer is a RangeError', () => {
    for (const maxBytes of [0, -1, 1.5, Number.NaN, Number.POSITIVE_INFINITY]) {
      expect(() => new MemoryStorage({ maxBytes })).toThrow(RangeError)
    }
  })
})
