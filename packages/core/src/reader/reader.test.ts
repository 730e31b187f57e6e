import { describe, expect, test } from 'vitest'
import { makeTorrent, randomBytes } from '../../../../test/support/torrents.ts'
import type { ByteRange, ReadOptions } from '../byte-source.ts'
import { IsthmusError } from '../errors.ts'
import { createLimits, type Limits } from '../limits.ts'
import { Bitfield } from '../metainfo/bitfield.ts'
import { parseMetainfo } from '../metainfo/metainfo.ts'
import type { Transfer } from '../swarm/transfer.ts'
import { PieceArrivals } from './piece-arrivals.ts'
import { CHUNK_BYTES, type ReaderSource, readRange } from './reader.ts'
import { TorrentFile } from './torrent-file.ts'

const PIECE = 65_536
const content = randomBytes(40 * PIECE + 77, 3)
const { layout } = parseMetainfo(makeTorrent({ files: content, pieceLength: PIECE }).torrent)
const whole = { offset: 0, length: content.length }

const turn = () => new Promise<void>((resolve) => setImmediate(resolve))

/** A transfer whose pieces come when the test says so. */
class Source implements ReaderSource {
  readonly available = new Bitfield(layout.pieceCount)
  readonly poisoned = new Map<number, IsthmusError>()
  readonly windows = new Map<object, ByteRange>()
  readonly allWindows: ByteRange[] = []
  readonly arrivals = new PieceArrivals()
  readonly limits: Limits
  readonly transfer: Transfer
  readers = 0
  capacityBytes = Number.POSITIVE_INFINITY
  onRead = () => {}

  constructor(limits: Partial<Limits> = {}) {
    this.limits = createLimits(limits)
    const source = this
    this.transfer = {
      store: {
        layout,
        available: this.available,
        get capacityBytes() {
          return source.capacityBytes
        },
        read: async (
          span: ByteRange,
          { into = new Uint8Array(span.end - span.start) }: { into?: Uint8Array } = {},
        ) => {
          source.onRead()
          const { start, end } = layout.piecesOf(span)
          for (let piece = start; piece < end; piece++) {
            if (!source.available.has(piece)) {
              throw new IsthmusError('ISTHMUS_PIECE_MISSING', `piece ${piece}`)
            }
          }
          into.set(content.subarray(span.start, span.end))
          return into
        },
      },
      poisonOf: (piece: number) => this.poisoned.get(piece),
      setWindow: (reader: object, window: ByteRange) => {
        this.windows.set(reader, window)
        this.allWindows.push(window)
      },
      removeWindow: (reader: object) => this.windows.delete(reader),
    } as unknown as Transfer
  }

  track() {
    this.readers++
    return () => void this.readers--
  }

  readerCount() {
    return this.readers
  }

  arrive(...pieces: number[]): void {
    for (const piece of pieces) {
      this.available.set(piece)
      this.arrivals.notify(piece)
    }
  }

  read(range: ByteRange, options?: ReadOptions) {
    return readRange(this, whole, range, options)
  }
}

function complete(limits?: Partial<Limits>): Source {
  const source = new Source(limits)
  source.available.fill()
  return source
}

async function collect(chunks: AsyncIterable<Uint8Array>): Promise<Uint8Array[]> {
  const all: Uint8Array[] = []
  for await (const chunk of chunks) all.push(chunk)
  return all
}

describe('readRange', () => {
  test.each<ByteRange>([
    { start: 0, end: content.length },
    { start: PIECE - 1, end: PIECE + 1 },
    { start: 12_345, end: 12_346 },
    { start: 40 * PIECE, end: content.length },
    { start: 99, end: 20 * PIECE + 5 },
  ])(
    'yields exactly $start to $end, in chunks that are neither long nor needlessly short',
    async (range) => {
      const chunks = await collect(complete().read(range))
      expect(Buffer.compare(Buffer.concat(chunks), content.subarray(range.start, range.end))).toBe(
        0,
      )
      for (const chunk of chunks) expect(chunk.length).toBeLessThanOrEqual(CHUNK_BYTES)
      for (const chunk of chunks.slice(0, -1)) expect(chunk.length).toBeGreaterThanOrEqual(65_536)
    },
  )

  test('a chunk is the consumer’s alone', async () => {
    const [first, second] = await collect(complete().read({ start: 0, end: 2 * CHUNK_BYTES }))
    first?.fill(0)
    expect(first?.buffer.byteLength).toBe(first?.length)
    expect(
      Buffer.compare(second as Uint8Array, content.subarray(CHUNK_BYTES, 2 * CHUNK_BYTES)),
    ).toBe(0)
  })

  test('puts chunks where the consumer says', async () => {
    const given: Uint8Array[] = []
    const allocate = (bytes: number) => {
      given.push(new Uint8Array(bytes))
      return given.at(-1) as Uint8Array
    }
    const chunks = await collect(complete().read({ start: 5, end: 300_000 }, { allocate }))
    expect(chunks.every((chunk, index) => chunk === given[index])).toBe(true)
  })

  test.each([
    { start: 0, end: content.length + 1 },
    { start: 5, end: 4 },
    { start: -1, end: 4 },
    { start: 0.5, end: 4 },
  ])('refuses $start to $end on the first step', async (range) => {
    const source = complete()
    await expect(source.read(range).next()).rejects.toThrow(RangeError)
    expect(source.readers).toBe(0)
  })

  test('an empty range yields nothing and wants nothing', async () => {
    const source = new Source()
    expect(await collect(source.read({ start: 9, end: 9 }))).toEqual([])
    expect(source.allWindows).toEqual([])
  })

  test('waits for a piece that is not here, and yields what is verified before it', async () => {
    const source = new Source()
    source.arrive(0)
    const chunks = source.read({ start: 0, end: 2 * PIECE })
    expect((await chunks.next()).value).toHaveLength(PIECE)
    const next = chunks.next()
    await turn()
    source.arrive(1)
    expect((await next).value).toEqual(content.slice(PIECE, 2 * PIECE))
    expect((await chunks.next()).done).toBe(true)
  })

  test('wants pieces from where it is on, farther ahead the more was read', async () => {
    const source = complete({ readaheadBytes: 30 * PIECE })
    await collect(source.read({ start: 3 * PIECE + 5, end: content.length }))
    expect(source.allWindows[0]).toEqual({ start: 3, end: 3 + 17 })
    const lengths = source.allWindows.map(({ start, end }) => end - start)
    expect(Math.max(...lengths)).toBe(31)
    expect(source.allWindows.at(-1)?.end).toBe(layout.pieceCount)
  })

  test('wants nothing behind the end of its range', async () => {
    const source = complete()
    await collect(source.read({ start: 0, end: PIECE + 1 }))
    expect(source.allWindows.every(({ end }) => end <= 2)).toBe(true)
  })

  test.each([1, 2, 3, 5, 7])('%i readers share half of what the storage holds', async (readers) => {
    const source = complete()
    source.capacityBytes = 20 * PIECE
    const open = Array.from({ length: readers }, () =>
      source.read({ start: 0, end: content.length }),
    )
    for (const chunks of open) await chunks.next()
    source.allWindows.length = 0
    for (const chunks of open) await chunks.next()
    for (const { start, end } of source.allWindows) {
      expect((end - start - 1) * PIECE).toBeLessThanOrEqual((10 * PIECE) / readers)
    }
    for (const chunks of open) await chunks.return()
    expect(source.readers).toBe(0)
  })

  test.each(['return', 'throw'] as const)('%s leaves no window and no reader', async (how) => {
    const source = complete()
    const chunks = source.read({ start: 0, end: content.length })
    await chunks.next()
    expect(source.windows.size).toBe(1)
    expect(source.readers).toBe(1)
    await (how === 'return' ? chunks.return() : chunks.throw(new Error('no')).catch(() => {}))
    expect(source.windows.size).toBe(0)
    expect(source.readers).toBe(0)
  })

  test('an abort while it waits rejects with its reason, and leaves no window', async () => {
    const source = new Source()
    const controller = new AbortController()
    const next = source.read({ start: 0, end: 9 }, { signal: controller.signal }).next()
    await turn()
    expect(source.windows.size).toBe(1)
    const reason = new Error('enough')
    controller.abort(reason)
    await expect(next).rejects.toBe(reason)
    expect(source.windows.size).toBe(0)
    expect(source.readers).toBe(0)
  })

  test('an abort between two chunks ends it too', async () => {
    const source = complete()
    const controller = new AbortController()
    const chunks = source.read({ start: 0, end: content.length }, { signal: controller.signal })
    await chunks.next()
    controller.abort(new Error('enough'))
    await expect(chunks.next()).rejects.toThrow('enough')
    expect(source.windows.size).toBe(0)
  })

  test('a piece that is lost between arriving and reading is waited for again', async () => {
    const source = new Source()
    source.onRead = () => {
      source.available.clear(0)
      source.onRead = () => {}
    }
    const next = source.read({ start: 0, end: 9 }).next()
    source.arrive(0)
    await turn()
    source.arrive(0)
    expect((await next).value).toEqual(content.slice(0, 9))
  })

  test('rejects with why a piece cannot be had', async () => {
    const source = new Source()
    const next = source.read({ start: 0, end: 9 }).next()
    await turn()
    source.poisoned.set(0, new IsthmusError('ISTHMUS_SWARM_POISONED', 'wrong'))
    source.arrivals.notify(0)
    await expect(next).rejects.toMatchObject({ code: 'ISTHMUS_SWARM_POISONED' })
    expect(source.windows.size).toBe(0)
  })

  test('a failure of ours comes through', async () => {
    const source = complete()
    source.onRead = () => {
      throw new TypeError('a bug')
    }
    await expect(source.read({ start: 0, end: 9 }).next()).rejects.toThrow(TypeError)
    expect(source.windows.size).toBe(0)
  })
})

describe('TorrentFile', () => {
  const files = [
    { path: ['first.bin'], bytes: content.subarray(0, PIECE + 100) },
    { path: ['sub', 'empty.bin'], bytes: new Uint8Array() },
    { path: ['sub', 'last.bin'], bytes: content.subarray(PIECE + 100) },
  ]
  const metainfo = parseMetainfo(makeTorrent({ name: 'many', files, pieceLength: PIECE }).torrent)
  const make = (source: ReaderSource) =>
    metainfo.files.map((file) => new TorrentFile(source, metainfo, file)) as [
      TorrentFile,
      TorrentFile,
      TorrentFile,
    ]

  test('knows its path, name and place', () => {
    const [, empty, last] = make(new Source())
    expect(empty).toMatchObject({
      path: 'many/sub/empty.bin',
      name: 'empty.bin',
      length: 0,
      index: 1,
    })
    expect(last).toMatchObject({ path: 'many/sub/last.bin', offset: PIECE + 100, index: 2 })
    const single = parseMetainfo(
      makeTorrent({ name: 'one', files: content, pieceLength: PIECE }).torrent,
    )
    const [file] = single.files.map((each) => new TorrentFile(new Source(), single, each))
    expect(file).toMatchObject({ path: 'one', name: 'one', length: content.length })
  })

  test('has a strong validator of its own', () => {
    const etags = make(new Source()).map(({ etag }) => etag)
    expect(new Set(etags).size).toBe(3)
    for (const etag of etags) expect(etag).toMatch(/^"[^"]+"$/)
    expect(make(new Source())[0].etag).toBe(etags[0])
  })

  test('reads its own bytes and no others', async () => {
    const [first, empty, last] = make(complete())
    expect(
      Buffer.compare(
        Buffer.concat(await collect(last.read({ start: 0, end: last.length }))),
        content.subarray(PIECE + 100),
      ),
    ).toBe(0)
    expect(
      Buffer.concat(await collect(first.read({ start: PIECE - 1, end: first.length }))),
    ).toEqual(Buffer.from(content.subarray(PIECE - 1, PIECE + 100)))
    expect(await collect(empty.read({ start: 0, end: 0 }))).toEqual([])
    await expect(first.read({ start: 0, end: first.length + 1 }).next()).rejects.toThrow(RangeError)
  })

  test('its progress counts its part of each piece', () => {
    const source = new Source()
    const [first, empty, last] = make(source)
    expect([first.progress, empty.progress, last.progress]).toEqual([0, 1, 0])
    source.arrive(1)
    expect(first.progress).toBeCloseTo(100 / first.length, 12)
    expect(last.progress).toBeCloseTo((PIECE - 100) / last.length, 12)
    source.arrive(...Array.from({ length: layout.pieceCount }, (_, piece) => piece))
    expect([first.progress, last.progress]).toEqual([1, 1])
  })
})
