import { describe, expect, onTestFinished, test } from 'vitest'
import { makeTorrent, randomBytes } from '../../../../test/support/torrents.ts'
import type { ByteRange } from '../byte-source.ts'
import type { IsthmusError } from '../errors.ts'
import { Hasher } from '../hash/hasher.ts'
import { Bitfield } from '../metainfo/bitfield.ts'
import { parseMetainfo } from '../metainfo/metainfo.ts'
import { takePieceBuffer } from './buffer-pool.ts'
import { MemoryStorage } from './memory-storage.ts'
import { PieceCache } from './piece-cache.ts'
import { PieceStore, type PieceStoreHandler } from './piece-store.ts'
import type { PieceStorage } from './storage.ts'

const PIECE = 32_768
const content = randomBytes(3 * PIECE + 1000, 5)
const metainfo = parseMetainfo(makeTorrent({ files: content, pieceLength: PIECE }).torrent)
const { layout } = metainfo

const pieceOf = (piece: number) => {
  const { start, end } = layout.pieceRange(piece)
  return content.subarray(start, end)
}

/** What a transfer hands over: a buffer of the pool. */
function received(piece: number): Uint8Array {
  const bytes = takePieceBuffer(layout.pieceSize(piece))
  bytes.set(pieceOf(piece))
  return bytes
}

/** Bytes that every piece buffer is filled with now, if anybody gave its buffer back. */
function scribbleOverPool(): void {
  const taken = Array.from({ length: 50 }, () => takePieceBuffer(PIECE))
  for (const bytes of taken) bytes.fill(0xee)
}

const turn = () => new Promise<void>((resolve) => setImmediate(resolve))

/** The plainest storage there is, and whatever a test makes of it. */
class TestPieces implements PieceStorage {
  readonly trust: 'owned' | 'mutable' = 'owned'
  borrows?: boolean
  takesShared?: boolean
  inMemory?: boolean
  capacity?: PieceStorage['capacity']
  bytes: Uint8Array = new Uint8Array(content.length)
  present = new Bitfield(layout.pieceCount)
  verified = new Bitfield(layout.pieceCount)
  reads = 0
  readonly given: Uint8Array[] = []
  readonly calls: string[] = []

  constructor(init: Partial<TestPieces> = {}) {
    Object.assign(this, init)
  }

  async state() {
    return { present: this.present, verified: this.verified }
  }

  async read({ start, end }: ByteRange, { into }: { into?: Uint8Array | undefined } = {}) {
    this.reads++
    const bytes = into ?? new Uint8Array(end - start)
    bytes.set(this.bytes.subarray(start, end))
    return bytes
  }

  async write(offset: number, bytes: Uint8Array): Promise<void> {
    this.given.push(bytes)
    this.bytes.set(bytes, offset)
  }

  async commit(piece: number): Promise<void> {
    this.calls.push(`commit ${piece}`)
  }

  async evict(piece: number): Promise<void> {
    this.calls.push(`evict ${piece}`)
  }

  async destroy(): Promise<void> {
    this.calls.push('destroy')
  }

  async close(): Promise<void> {
    this.calls.push('close')
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }
}

/** What the torrent was told, and what it answers. */
class Told implements PieceStoreHandler {
  readonly verified: number[] = []
  readonly lost: number[] = []
  readonly dropped: number[] = []
  readonly warnings: IsthmusError[] = []
  readonly awaited = new Set<number>()
  readonly needed = new Set<number>()
  readonly distances = new Map<number, number>()
  admitted = 0
  #whenAdmitted = () => {}

  distanceOf = (piece: number) => this.distances.get(piece) ?? Number.POSITIVE_INFINITY
  isAwaited = (piece: number) => this.awaited.has(piece)
  isNeeded = (piece: number) => this.needed.has(piece)
  onDropped = (piece: number) => void this.dropped.push(piece)
  onVerified = (piece: number) => void this.verified.push(piece)
  onLost = (piece: number) => void this.lost.push(piece)
  onWarning = (error: IsthmusError) => void this.warnings.push(error)
  onAdmitted = () => {
    this.admitted++
    this.#whenAdmitted()
  }

  nextAdmission(): Promise<void> {
    return new Promise((resolve) => {
      this.#whenAdmitted = resolve
    })
  }
}

async function open<S extends PieceStorage>(storage: S, { cacheBytes = 10 * PIECE } = {}) {
  const told = new Told()
  const cache = new PieceCache(cacheBytes)
  const hasher = new Hasher()
  onTestFinished(() => hasher.close())
  const store = await PieceStore.open({ metainfo, storage, hasher, cache, handler: told })
  return { store, told, storage, cache }
}

/** A promise and the function that settles it. */
function gate() {
  let openGate = () => {}
  const opened = new Promise<void>((resolve) => {
    openGate = resolve
  })
  return { opened, open: openGate }
}

const whole = { start: 0, end: content.length }
const missing = expect.objectContaining({ code: 'ISTHMUS_PIECE_MISSING' })
const failed = expect.objectContaining({ code: 'ISTHMUS_STORAGE_FAILED' })

const kinds: readonly (readonly [string, () => PieceStorage | Promise<PieceStorage>])[] = [
  ['in memory', () => new MemoryStorage().open(metainfo)],
  ['that takes bytes over', () => new TestPieces()],
  ['that takes shared bytes over', () => new TestPieces({ takesShared: true })],
  ['that borrows', () => new TestPieces({ borrows: true })],
  ['that borrows shared bytes', () => new TestPieces({ borrows: true, takesShared: true })],
]

describe.each(kinds)('a store around a storage %s', (_, openStorage) => {
  test('reads back what it accepted, awaited or not', async () => {
    const { store, told } = await open(await openStorage())
    told.awaited.add(1)
    for (let piece = 0; piece < layout.pieceCount; piece++) {
      expect(await store.accept(piece, received(piece))).toBe(true)
    }
    await turn()
    scribbleOverPool()
    expect(store.isComplete).toBe(true)
    expect([...told.verified].sort()).toEqual([0, 1, 2, 3])
    expect(Buffer.compare(await store.read(whole), content)).toBe(0)
    const span = { start: PIECE - 5, end: 2 * PIECE + 5 }
    const into = new Uint8Array(span.end - span.start)
    expect(await store.read(span, { into })).toBe(into)
    expect(Buffer.compare(into, content.subarray(span.start, span.end))).toBe(0)
    await store.close()
  })

  test('serves nothing that is not there', async () => {
    const { store } = await open(await openStorage())
    await store.accept(0, received(0))
    await expect(store.read({ start: 0, end: PIECE + 1 })).rejects.toEqual(missing)
    await store.close()
  })

  test('wrong bytes are refused and not served', async () => {
    const { store, told } = await open(await openStorage())
    told.awaited.add(0)
    const wrong = received(0)
    wrong[77] = (wrong[77] ?? 0) ^ 1
    expect(await store.accept(0, wrong)).toBe(false)
    expect(told.verified).toEqual([])
    await expect(store.read({ start: 0, end: 1 })).rejects.toEqual(missing)
    expect(await store.accept(0, received(0))).toBe(true)
    expect(told.verified).toEqual([0])
    await store.close()
  })
})

describe('a storage that is open already', () => {
  test('what it verified itself is served', async () => {
    const verified = Bitfield.full(layout.pieceCount)
    const { store } = await open(new TestPieces({ bytes: content, present: verified, verified }))
    expect(store.isComplete).toBe(true)
    expect(Buffer.compare(await store.read(whole), content)).toBe(0)
  })

  test('what is there but not verified is served only once it was checked', async () => {
    const bytes = content.slice()
    bytes[PIECE] = (bytes[PIECE] ?? 0) ^ 1
    const present = Bitfield.full(layout.pieceCount)
    const { store, told, storage } = await open(new TestPieces({ bytes, present }))
    expect(store.available.count).toBe(0)
    await expect(store.read({ start: 0, end: 1 })).rejects.toEqual(missing)
    const admitted = told.nextAdmission()
    expect(store.mayStart(0)).toBe(false)
    await admitted
    expect(told.verified).toEqual([0])
    expect(storage.calls).toEqual(['commit 0'])
    expect(Buffer.compare(await store.read({ start: 0, end: PIECE }), pieceOf(0))).toBe(0)
    // The wrong one is fetched like any other: told at once that it may start.
    const wrong = told.nextAdmission()
    expect(store.mayStart(1)).toBe(false)
    await wrong
    expect(store.mayStart(1)).toBe(true)
    expect(told.verified).toEqual([0])
    expect(told.warnings).toEqual([])
  })

  test('verify checks all that is there, and only that', async () => {
    const bytes = content.slice()
    bytes[3 * PIECE] = (bytes[3 * PIECE] ?? 0) ^ 1
    const present = Bitfield.full(layout.pieceCount)
    present.clear(1)
    const { store, told } = await open(new TestPieces({ bytes, present }))
    await store.verify()
    expect([...told.verified].sort()).toEqual([0, 2])
    expect(store.available.has(3)).toBe(false)
  })

  test('verify finds what went wrong in the storage since', async () => {
    const verified = Bitfield.full(layout.pieceCount)
    const bytes = content.slice()
    const { store, told } = await open(new TestPieces({ bytes, present: verified, verified }))
    bytes[0] = (bytes[0] ?? 0) ^ 1
    await store.verify()
    expect(told.lost).toEqual([0])
    await expect(store.read({ start: 0, end: 1 })).rejects.toEqual(missing)
  })

  test('a commit that fails after a check is a warning, and the piece is fetched', async () => {
    const storage = new TestPieces({ bytes: content, present: Bitfield.full(layout.pieceCount) })
    storage.commit = () => Promise.reject(new Error('disk full'))
    const { store, told } = await open(storage)
    const admitted = told.nextAdmission()
    expect(store.mayStart(0)).toBe(false)
    await admitted
    expect(told.warnings).toEqual([failed])
    expect(store.available.has(0)).toBe(false)
    expect(store.mayStart(0)).toBe(true)
    await expect(store.verify()).resolves.toBeUndefined()
  })

  test('one that cannot say what it has does not open', async () => {
    const storage = new TestPieces()
    storage.state = () => Promise.reject(new Error('no'))
    await expect(open(storage)).rejects.toEqual(failed)
  })
})

describe('a storage that fails', () => {
  test.each(['write', 'commit'] as const)(
    'a %s that fails rejects, and leaves the piece to be had anew',
    async (method) => {
      const { store, told, storage } = await open(new TestPieces())
      const works = { [method]: storage[method] }
      storage[method] = () => Promise.reject(new Error('disk full'))
      told.awaited.add(0)
      await expect(store.accept(0, received(0))).rejects.toEqual(failed)
      expect(store.available.has(0)).toBe(false)
      expect(told.lost).toEqual([0])
      await expect(store.read({ start: 0, end: 1 })).rejects.toEqual(missing)
      Object.assign(storage, works)
      expect(await store.accept(0, received(0))).toBe(true)
      expect(Buffer.compare(await store.read({ start: 0, end: PIECE }), pieceOf(0))).toBe(0)
    },
  )

  test('our own codes pass through', async () => {
    const { store, storage } = await open(new TestPieces())
    const { IsthmusError } = await import('../errors.ts')
    const full = new IsthmusError('ISTHMUS_STORAGE_FULL', 'full')
    storage.write = () => Promise.reject(full)
    await expect(store.accept(0, received(0))).rejects.toBe(full)
  })

  test('a read that fails loses the piece, with a warning', async () => {
    const { store, told, storage } = await open(new TestPieces())
    await store.accept(0, received(0))
    storage.read = () => Promise.reject(new Error('bad sector'))
    await expect(store.read({ start: 5, end: 9 })).rejects.toEqual(missing)
    expect(told.lost).toEqual([0])
    expect(told.warnings).toEqual([failed])
  })

  test('what was evicted behind our back is lost without a warning', async () => {
    const memory = await new MemoryStorage().open(metainfo)
    const { store, told } = await open(memory)
    await store.accept(2, received(2))
    await memory.evict?.(2)
    await expect(store.read(layout.pieceRange(2))).rejects.toEqual(missing)
    expect(told.lost).toEqual([2])
    expect(told.warnings).toEqual([])
    expect(await store.accept(2, received(2))).toBe(true)
  })

  test('an aborted read loses nothing', async () => {
    const { store, told, storage } = await open(new TestPieces())
    await store.accept(0, received(0))
    const reason = new Error('enough')
    storage.read = () => Promise.reject(reason)
    const signal = AbortSignal.abort(reason)
    await expect(store.read({ start: 0, end: 1 }, { signal })).rejects.toBe(reason)
    expect(told.lost).toEqual([])
  })

  test('a read that is too short is a failure, not a piece of garbage', async () => {
    const { store, told, storage } = await open(new TestPieces())
    await store.accept(0, received(0))
    storage.read = async () => new Uint8Array(3)
    await expect(store.read({ start: 0, end: 9 })).rejects.toEqual(missing)
    expect(told.warnings).toEqual([failed])
  })
})

describe('a storage that keeps what it was given', () => {
  test('and changes it, does not change what is in the cache', async () => {
    const { store, told, storage } = await open(new TestPieces())
    told.awaited.add(0)
    await store.accept(0, received(0))
    for (const bytes of storage.given) bytes.fill(0)
    storage.bytes.fill(0)
    expect(Buffer.compare(await store.read({ start: 0, end: PIECE }), pieceOf(0))).toBe(0)
    expect(storage.reads).toBe(0)
  })

  test('gets plain memory unless it takes shared memory', async () => {
    const plain = await open(new TestPieces())
    await plain.store.accept(0, received(0))
    expect(plain.storage.given[0]?.buffer).toBeInstanceOf(ArrayBuffer)
    const shared = await open(new TestPieces({ takesShared: true }))
    const bytes = received(0)
    await shared.store.accept(0, bytes)
    expect(shared.storage.given[0]).toBe(bytes)
  })

  test('keeps it: its memory is not used again', async () => {
    const { store, storage } = await open(new TestPieces({ takesShared: true }))
    await store.accept(0, received(0))
    await turn()
    scribbleOverPool()
    expect(Buffer.compare(storage.given[0] as Uint8Array, pieceOf(0))).toBe(0)
  })

  test('what is only lent serves readers while it is written, and is never used twice', async () => {
    const { store, told, storage } = await open(new TestPieces({ borrows: true }))
    told.awaited.add(0)
    const { opened, open: openGate } = gate()
    storage.write = async () => opened
    const accepting = store.accept(0, received(0))
    await expect.poll(() => told.verified).toEqual([0])
    scribbleOverPool()
    expect(Buffer.compare(await store.read({ start: 0, end: PIECE }), pieceOf(0))).toBe(0)
    openGate()
    expect(await accepting).toBe(true)
    await turn()
    scribbleOverPool()
    expect(Buffer.compare(await store.read({ start: 0, end: PIECE }), pieceOf(0))).toBe(0)
    expect(storage.reads).toBe(0)
  })

  test('answers reads with a buffer of its own: it is copied', async () => {
    const { store, storage } = await open(new TestPieces())
    await store.accept(0, received(0))
    const own = pieceOf(0).slice(0, 100)
    storage.read = async () => own
    const into = new Uint8Array(100)
    const bytes = await store.read({ start: 0, end: 100 }, { into })
    own.fill(0)
    expect(bytes).toBe(into)
    expect(Buffer.compare(bytes, content.subarray(0, 100))).toBe(0)
  })
})

describe('a piece that readers wait for', () => {
  test.each([
    ['is larger than the cache', { cacheBytes: PIECE - 1 }],
    ['was driven out of the cache', { cacheBytes: PIECE }],
  ])('and that %s is read from the storage once it is there, never before', async (_, options) => {
    const { store, told, storage, cache } = await open(new TestPieces({ borrows: true }), options)
    const { opened, open: openGate } = gate()
    const write = storage.write.bind(storage)
    storage.write = async (offset, bytes) => {
      await opened
      return write(offset, bytes)
    }
    told.awaited.add(0)
    const accepting = store.accept(0, received(0))
    await expect.poll(() => told.verified).toEqual([0])
    cache.put(99, 0, new Uint8Array(PIECE))
    const reading = store.read({ start: 0, end: PIECE })
    await turn()
    expect(storage.reads).toBe(0)
    openGate()
    expect(Buffer.compare(await reading, pieceOf(0))).toBe(0)
    await accepting
  })

  test('is missing for them where it was not stored after all', async () => {
    const { store, told, storage } = await open(new TestPieces(), { cacheBytes: 10 })
    const { opened, open: openGate } = gate()
    storage.write = async () => {
      await opened
      throw new Error('disk full')
    }
    told.awaited.add(0)
    const accepting = store.accept(0, received(0))
    await expect.poll(() => told.verified).toEqual([0])
    const reading = store.read({ start: 0, end: PIECE })
    openGate()
    await expect(accepting).rejects.toEqual(failed)
    await expect(reading).rejects.toEqual(missing)
    expect(storage.reads).toBe(0)
  })

  test('can be waited for no longer than a signal allows', async () => {
    const { store, told, storage } = await open(new TestPieces(), { cacheBytes: 10 })
    const { opened, open: openGate } = gate()
    storage.write = () => opened
    told.awaited.add(0)
    const accepting = store.accept(0, received(0))
    await expect.poll(() => told.verified).toEqual([0])
    const controller = new AbortController()
    const reading = store.read({ start: 0, end: 1 }, { signal: controller.signal })
    controller.abort(new Error('enough'))
    await expect(reading).rejects.toThrow('enough')
    openGate()
    await accepting
  })
})

describe('a mutable storage', () => {
  const mutable = (bytes = content.slice()) =>
    new TestPieces({ trust: 'mutable', bytes, present: Bitfield.full(layout.pieceCount) })

  test('is read whole pieces at a time, hashed, and served from the copy', async () => {
    const { store, storage } = await open(mutable())
    expect(store.isComplete).toBe(true)
    expect(Buffer.compare(await store.read({ start: 10, end: 20 }), content.subarray(10, 20))).toBe(
      0,
    )
    expect(storage.reads).toBe(1)
    storage.bytes.fill(0)
    expect(Buffer.compare(await store.read({ start: 50, end: 99 }), content.subarray(50, 99))).toBe(
      0,
    )
    expect(storage.reads).toBe(1)
  })

  test('that was changed is refused', async () => {
    const { store, told, storage } = await open(mutable())
    storage.bytes[PIECE + 3] = (storage.bytes[PIECE + 3] ?? 0) ^ 1
    await expect(store.read({ start: PIECE, end: PIECE + 1 })).rejects.toEqual(missing)
    expect(told.lost).toEqual([1])
    expect(Buffer.compare(await store.read(layout.pieceRange(0)), pieceOf(0))).toBe(0)
  })

  test('that changes what it answered serves what was hashed', async () => {
    const storage = mutable()
    const own = pieceOf(0).slice()
    storage.read = async () => own
    const { store } = await open(storage)
    await store.read({ start: 0, end: 1 })
    own.fill(0)
    expect(Buffer.compare(await store.read(layout.pieceRange(0)), pieceOf(0))).toBe(0)
  })

  test('is filled once for all who ask at the same time', async () => {
    const { store, storage } = await open(mutable())
    await Promise.all([1, 2, 3].map((start) => store.read({ start, end: start + 100 })))
    expect(storage.reads).toBe(1)
  })

  test('is hashed again once its copy is gone', async () => {
    const { store, storage } = await open(mutable(), { cacheBytes: PIECE })
    await store.read(layout.pieceRange(0))
    await store.read(layout.pieceRange(1))
    storage.bytes[5] = (storage.bytes[5] ?? 0) ^ 1
    await expect(store.read(layout.pieceRange(0))).rejects.toEqual(missing)
  })

  test('that has no write takes no pieces', async () => {
    const storage = mutable()
    Object.assign(storage, { write: undefined })
    const { store } = await open(storage)
    expect(store.isWritable).toBe(false)
    expect(store.mayStart(0)).toBe(false)
  })
})

describe('places in a storage with a capacity', () => {
  async function small(pieces: number) {
    const storage = new MemoryStorage({ maxBytes: pieces * PIECE })
    return { memory: storage, ...(await open(await storage.open(metainfo))) }
  }

  /** Whether a reader that needs just this piece may start it now. */
  function mayStart(store: PieceStore, told: Told, piece: number): boolean {
    told.distances.clear()
    told.distances.set(piece, 0)
    return store.mayStart(piece)
  }

  async function fetch(store: PieceStore, told: Told, piece: number): Promise<void> {
    while (!mayStart(store, told, piece)) await told.nextAdmission()
    expect(await store.accept(piece, received(piece))).toBe(true)
  }

  test('what nobody needs makes room', async () => {
    const { store, told, memory } = await small(2)
    for (const piece of [0, 1, 2, 3]) await fetch(store, told, piece)
    expect(told.lost).toEqual([0, 1])
    expect(memory.heldBytes).toBeLessThanOrEqual(2 * PIECE)
    await expect(store.read({ start: 0, end: 1 })).rejects.toEqual(missing)
    expect(Buffer.compare(await store.read(layout.pieceRange(2)), pieceOf(2))).toBe(0)
    await store.close()
  })

  test('a piece that will not be filled gives its place back', async () => {
    const { store, told } = await small(1)
    const admitted = told.nextAdmission()
    mayStart(store, told, 0)
    await admitted
    told.needed.add(0)
    mayStart(store, told, 1)
    await turn()
    expect(told.admitted).toBe(1)
    store.abandon(0)
    await turn()
    expect(mayStart(store, told, 1)).toBe(true)
    await store.close()
  })

  test('what came of a piece that nobody needs any more is dropped', async () => {
    const { store, told } = await small(1)
    const admitted = told.nextAdmission()
    mayStart(store, told, 0)
    await admitted
    const second = told.nextAdmission()
    mayStart(store, told, 1)
    await second
    expect(told.dropped).toEqual([0])
    await store.close()
  })

  test('a piece keeps its place while it is hashed and stored, though nobody needs it any more', async () => {
    const { store, told, memory } = await small(1)
    const admitted = told.nextAdmission()
    mayStart(store, told, 0)
    await admitted
    const accepting = store.accept(0, received(0))
    expect(mayStart(store, told, 1)).toBe(false)
    expect(await accepting).toBe(true)
    expect(told.dropped).toEqual([])
    const second = told.nextAdmission()
    expect(mayStart(store, told, 1)).toBe(false)
    await second
    await store.accept(1, received(1))
    expect(told.lost).toEqual([0])
    expect(memory.heldBytes).toBe(PIECE)
    await store.close()
  })

  test('closing gives every place back', async () => {
    const storage = new MemoryStorage({ maxBytes: PIECE })
    const first = await open(await storage.open(metainfo))
    await fetch(first.store, first.told, 0)
    mayStart(first.store, first.told, 1)
    await first.store.close()
    const second = await open(await storage.open(metainfo))
    await fetch(second.store, second.told, 0)
    await second.store.close()
    expect(storage.heldBytes).toBe(0)
  })
})

describe('closing', () => {
  test('waits for what is being written, closes the storage once, and forgets the cache', async () => {
    const { store, told, storage, cache } = await open(new TestPieces())
    const { opened, open: openGate } = gate()
    storage.write = () => opened
    told.awaited.add(0)
    const accepting = store.accept(0, received(0))
    await expect.poll(() => told.verified).toEqual([0])
    const closing = store.close()
    await turn()
    expect(storage.calls).toEqual([])
    openGate()
    await Promise.all([closing, store.close(), accepting])
    expect(storage.calls).toEqual(['commit 0', 'close'])
    expect(cache.heldBytes).toBe(0)
  })

  test('nothing is written after it', async () => {
    const { store, storage } = await open(new TestPieces())
    const accepting = store.accept(0, received(0))
    await Promise.all([
      store.close(),
      expect(accepting).rejects.toMatchObject({ code: 'ISTHMUS_STORAGE_CLOSED' }),
    ])
    expect(storage.given).toEqual([])
    expect(store.mayStart(1)).toBe(false)
  })

  test('a fill that ends later stays out of the cache', async () => {
    const storage = new TestPieces({ trust: 'mutable', bytes: content, present: Bitfield.full(4) })
    const { store, cache } = await open(storage)
    const reading = store.read({ start: 0, end: 9 })
    await store.close()
    await reading
    expect(cache.heldBytes).toBe(0)
  })

  test('deletes what is kept where that is asked for', async () => {
    const { store, storage } = await open(new TestPieces())
    await store.close({ destroy: true })
    expect(storage.calls).toEqual(['destroy'])
  })

  test('rejects where the storage does not close', async () => {
    const { store, storage } = await open(new TestPieces())
    storage.close = () => Promise.reject(new Error('busy'))
    await expect(store.close()).rejects.toEqual(failed)
  })
})
