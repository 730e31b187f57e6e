import { setMaxListeners } from 'node:events'
import type { ByteRange } from '../byte-source.ts'
import { copyBytes } from '../copy-bytes.ts'
import { IsthmusError, isIsthmusError } from '../errors.ts'
import type { Hasher } from '../hash/hasher.ts'
import { Bitfield } from '../metainfo/bitfield.ts'
import type { Layout } from '../metainfo/layout.ts'
import { type Metainfo, pieceHash } from '../metainfo/metainfo.ts'
import { type AbortOptions, abortable } from '../signal.ts'
import { Admission, type Tenant } from './admission.ts'
import { isShared, recyclePieceBuffer, takePieceBuffer } from './buffer-pool.ts'
import type { PieceCache } from './piece-cache.ts'
import type { PieceStorage } from './storage.ts'

/** What the torrent around a {@link PieceStore} is asked and told. */
export interface PieceStoreHandler {
  /** Pieces ahead of the nearest reader; Infinity where nobody needs it. */
  distanceOf(piece: number): number
  /** Whether a reader is about to need the piece. */
  isAwaited(piece: number): boolean
  /** Whether a piece that is not here is being filled for somebody. What is not may lose its place. */
  isNeeded(piece: number): boolean
  /** Its place is needed elsewhere: what came of it is thrown away. */
  onDropped(piece: number): void
  /** The piece is here, checked against its hash. */
  onVerified(piece: number): void
  /** It was here, and is no more: evicted, or found wrong. */
  onLost(piece: number): void
  /** A place for a piece was found: it may be started. */
  onAdmitted(): void
  /** The storage did not do what it should; the torrent goes on without that piece. */
  onWarning(error: IsthmusError): void
}

export interface PieceStoreOptions {
  readonly metainfo: Metainfo
  readonly storage: PieceStorage
  readonly hasher: Hasher
  readonly cache: PieceCache
  readonly handler: PieceStoreHandler
}

let owners = 0

/**
 * What core wraps around any storage: nothing is read from it but what was checked against the
 * torrent's hashes, whatever the storage says.
 */
export class PieceStore implements Tenant {
  readonly layout: Layout
  /** Pieces that can be read: verified, or of a `mutable` storage there and not found wrong. */
  readonly available: Bitfield
  readonly #owner = ++owners
  readonly #options: PieceStoreOptions
  readonly #storage: PieceStorage
  readonly #admission: Admission | undefined
  /** There, but nobody knows yet whether it is right. */
  #unchecked: Bitfield
  readonly #checking = new Map<number, Promise<boolean>>()
  readonly #filling = new Map<number, Promise<Uint8Array>>()
  /** Whole, and not yet known to be right or not yet stored: they keep their place. */
  readonly #accepting = new Set<number>()
  readonly #writing = new Map<number, Promise<void>>()
  readonly #evicting = new Map<number, Promise<void>>()
  readonly #closing = new AbortController()
  readonly #watching: Disposable | undefined
  #closed: Promise<void> | undefined

  private constructor(options: PieceStoreOptions, present: Bitfield, verified: Bitfield) {
    this.#options = options
    this.#storage = options.storage
    this.layout = options.metainfo.layout
    // Every piece that waits for a place listens for the end.
    setMaxListeners(0, this.#closing.signal)
    const { capacity, trust } = options.storage
    this.#admission = capacity === undefined ? undefined : Admission.of(capacity)
    this.available = trust === 'mutable' ? present.copy() : verified.copy()
    this.#unchecked = new Bitfield(this.layout.pieceCount)
    this.#watching = options.storage.watch?.((piece, there) => this.#changed(piece, there))
    if (trust === 'mutable') return
    for (let piece = 0; piece < this.layout.pieceCount; piece++) {
      if (present.has(piece) && !verified.has(piece)) this.#unchecked.set(piece)
    }
  }

  /** Asks the storage what is there. Rejects with `ISTHMUS_STORAGE_FAILED` where it cannot say. */
  static async open(
    options: PieceStoreOptions,
    { signal }: AbortOptions = {},
  ): Promise<PieceStore> {
    try {
      const { present, verified } = await options.storage.state({ signal })
      return new PieceStore(options, present, verified)
    } catch (cause) {
      throw storageFailed(cause)
    }
  }

  get isComplete(): boolean {
    return this.available.isFull
  }

  /** Whether pieces can be added. */
  get isWritable(): boolean {
    return this.#storage.write !== undefined
  }

  /** Most bytes that the storage holds at a time; Infinity where nothing bounds it. */
  get capacityBytes(): number {
    return this.#storage.capacity?.maxBytes ?? Number.POSITIVE_INFINITY
  }

  /** What readers will need, nearest first. */
  want(pieces: readonly number[]): void {
    this.#storage.want?.(pieces)
  }

  /**
   * Whether the piece may be asked of the swarm now. Where the storage has no room for it yet, or
   * may have it already, that is looked into, and `onAdmitted` follows.
   */
  mayStart(piece: number): boolean {
    if (this.#closing.signal.aborted || !this.isWritable) return false
    if (this.#unchecked.has(piece)) {
      void this.check(piece).then(() => this.#options.handler.onAdmitted())
      return false
    }
    const admission = this.#admission
    if (admission === undefined || admission.has(this.#owner, piece)) return true
    const bytes = this.layout.pieceSize(piece)
    const distance = this.#options.handler.distanceOf(piece)
    const place = { owner: this.#owner, tenant: this, piece, bytes, distance }
    admission.request(place, this.#closing.signal, () => this.#options.handler.onAdmitted())
    return false
  }

  /** The piece will not be filled after all: its place is free again. */
  abandon(piece: number): void {
    if (!this.available.has(piece)) this.#admission?.release(this.#owner, piece)
  }

  /**
   * A whole piece from the swarm; takes over `bytes` where it is right, and resolves with true once a
   * read sees it; with false where its hash is wrong. Rejects with `ISTHMUS_STORAGE_FULL` or
   * `ISTHMUS_STORAGE_FAILED` where the storage does not take it.
   */
  async accept(piece: number, bytes: Uint8Array): Promise<boolean> {
    this.#accepting.add(piece)
    try {
      const digest = await this.#options.hasher.sha1(bytes)
      if (!equal(digest, this.#hashOf(piece))) return false
      this.#closing.signal.throwIfAborted()
      const writing = this.#keep(piece, bytes).finally(() => this.#writing.delete(piece))
      this.#writing.set(piece, writing)
      await writing
      return true
    } finally {
      this.#accepting.delete(piece)
    }
  }

  /**
   * Verified bytes, in `into` where given. Rejects with `ISTHMUS_PIECE_MISSING` unless every piece of
   * `span` is available, also when one of them turns out not to be.
   */
  async read(
    span: ByteRange,
    { signal, into }: AbortOptions & { readonly into?: Uint8Array | undefined } = {},
  ): Promise<Uint8Array> {
    this.#assertAvailable(span)
    const bytes = into ?? Buffer.allocUnsafeSlow(span.end - span.start)
    if (this.#readCached(span, bytes)) return bytes
    const writing = this.#writingOf(span)
    if (writing.length > 0) {
      await abortable(Promise.allSettled(writing), signal)
      this.#assertAvailable(span)
    }
    if (this.#storage.trust === 'mutable') return this.#readMutable(span, bytes)
    try {
      return moveInto(bytes, await this.#storage.read(span, { signal, into: bytes }))
    } catch (error) {
      if (signal?.aborted) throw error
      throw await this.#lost(span, error)
    }
  }

  /** Checks a piece that the storage has against its hash. @returns whether it is right. */
  check(piece: number): Promise<boolean> {
    const known = this.#checking.get(piece)
    if (known !== undefined) return known
    const checking = this.#check(piece).finally(() => this.#checking.delete(piece))
    this.#checking.set(piece, checking)
    return checking
  }

  /** Checks everything that is there, a few pieces at a time. */
  async verify({ signal }: AbortOptions = {}): Promise<void> {
    const pending = new Set<Promise<unknown>>()
    for (let piece = 0; piece < this.layout.pieceCount; piece++) {
      if (!this.#unchecked.has(piece) && !this.available.has(piece)) continue
      signal?.throwIfAborted()
      const one = this.check(piece).finally(() => pending.delete(one))
      pending.add(one)
      if (pending.size >= CHECKS_AT_A_TIME) await Promise.race(pending)
    }
    await Promise.all(pending)
  }

  /** Resolves once nothing is being written. */
  async settled(): Promise<void> {
    await Promise.allSettled(this.#writing.values())
  }

  distanceOf(piece: number): number | undefined {
    const { handler } = this.#options
    if (this.#accepting.has(piece)) return undefined
    if (this.available.has(piece)) return handler.distanceOf(piece)
    return handler.isNeeded(piece) ? undefined : Number.POSITIVE_INFINITY
  }

  async evict(piece: number): Promise<void> {
    if (!this.available.has(piece)) {
      this.#options.handler.onDropped(piece)
      return
    }
    const evicting = this.#evict(piece).finally(() => this.#evicting.delete(piece))
    this.#evicting.set(piece, evicting)
    this.#forget(piece)
    await evicting
  }

  async #evict(piece: number): Promise<void> {
    try {
      await this.#storage.evict?.(piece)
    } catch (cause) {
      this.#options.handler.onWarning(storageFailed(cause))
    }
  }

  /** Waits for what is being written, then closes the storage, or deletes what it keeps. */
  close({ destroy = false }: { destroy?: boolean } = {}): Promise<void> {
    this.#closed ??= this.#close(destroy)
    return this.#closed
  }

  async #close(destroy: boolean): Promise<void> {
    this.#closing.abort(new IsthmusError('ISTHMUS_STORAGE_CLOSED', 'the storage is closed'))
    this.#watching?.[Symbol.dispose]()
    const underWay = [this.#writing, this.#checking, this.#filling]
    await Promise.allSettled(underWay.flatMap((work) => [...work.values()]))
    const { pieceCount } = this.layout
    for (let piece = 0; piece < pieceCount; piece++) this.#admission?.release(this.#owner, piece)
    this.#options.cache.deleteAll(this.#owner, pieceCount)
    try {
      if (destroy && this.#storage.destroy !== undefined) await this.#storage.destroy()
      else await this.#storage.close()
    } catch (cause) {
      throw storageFailed(cause)
    }
  }

  async #keep(piece: number, bytes: Uint8Array): Promise<void> {
    const storage = this.#storage
    try {
      if (storage.inMemory === true) await this.#write(piece, bytes)
      else if (storage.borrows === true) await this.#keepAndLend(piece, bytes)
      else await this.#copyAndGive(piece, bytes)
      this.#arrived(piece)
    } catch (cause) {
      this.#forget(piece)
      this.#admission?.release(this.#owner, piece)
      throw storageFailed(cause)
    }
  }

  async #keepAndLend(piece: number, bytes: Uint8Array): Promise<void> {
    const { cache, handler } = this.#options
    await cache.lend(this.#owner, piece, bytes, async () => {
      // Readers that wait need not wait for the disk.
      if (handler.isAwaited(piece)) {
        cache.put(this.#owner, piece, bytes)
        this.#arrived(piece)
      }
      await this.#write(piece, bytes)
    })
  }

  async #copyAndGive(piece: number, bytes: Uint8Array): Promise<void> {
    const { cache, handler } = this.#options
    if (handler.isAwaited(piece)) {
      const copy = takePieceBuffer(bytes.length)
      copyBytes(bytes, copy, 0)
      cache.put(this.#owner, piece, copy)
      this.#arrived(piece)
    }
    await this.#write(piece, bytes)
  }

  async #write(piece: number, bytes: Uint8Array): Promise<void> {
    const { start } = this.layout.pieceRange(piece)
    // Wanted again before it was gone.
    await this.#evicting.get(piece)
    await this.#storage.write?.(start, this.#given(bytes))
    await this.#storage.commit?.(piece)
  }

  async #check(piece: number): Promise<boolean> {
    const right = await this.#readAndHash(piece)
    const unchecked = this.#unchecked.clear(piece)
    if (right === undefined || (unchecked && !(await this.#commit(piece)))) {
      this.#forget(piece)
      return false
    }
    recyclePieceBuffer(right)
    this.#arrived(piece)
    return true
  }

  async #commit(piece: number): Promise<boolean> {
    try {
      await this.#storage.commit?.(piece)
      return true
    } catch (cause) {
      this.#options.handler.onWarning(storageFailed(cause))
      return false
    }
  }

  /** The bytes of a piece as the storage has them, if they are right. */
  async #readAndHash(piece: number): Promise<Uint8Array | undefined> {
    const into = takePieceBuffer(this.layout.pieceSize(piece))
    try {
      moveInto(into, await this.#storage.read(this.layout.pieceRange(piece), { into }))
      const digest = await this.#options.hasher.sha1(into)
      if (equal(digest, this.#hashOf(piece))) return into
    } catch (error) {
      if (!isIsthmusError(error, 'ISTHMUS_PIECE_MISSING')) {
        this.#options.handler.onWarning(storageFailed(error))
      }
    }
    return undefined
  }

  #readCached(span: ByteRange, into: Uint8Array): boolean {
    if (this.#storage.inMemory === true) return false
    const pieces = this.layout.piecesOf(span)
    for (let piece = pieces.start; piece < pieces.end; piece++) {
      const bytes = this.#options.cache.get(this.#owner, piece)
      if (bytes === undefined) return false
      copyOverlap(bytes, this.layout.pieceRange(piece).start, into, span)
    }
    return true
  }

  async #readMutable(span: ByteRange, into: Uint8Array): Promise<Uint8Array> {
    const pieces = this.layout.piecesOf(span)
    for (let piece = pieces.start; piece < pieces.end; piece++) {
      const bytes = await this.#fill(piece)
      copyOverlap(bytes, this.layout.pieceRange(piece).start, into, span)
    }
    return into
  }

  /** One fill for all who ask at the same time; what it answers is read, never kept. */
  #fill(piece: number): Promise<Uint8Array> {
    const known = this.#filling.get(piece)
    if (known !== undefined) return known
    const cached = this.#options.cache.get(this.#owner, piece)
    if (cached !== undefined) return Promise.resolve(cached)
    const filling = this.#fillNow(piece).finally(() => this.#filling.delete(piece))
    this.#filling.set(piece, filling)
    return filling
  }

  async #fillNow(piece: number): Promise<Uint8Array> {
    const bytes = await this.#readAndHash(piece)
    if (bytes === undefined) {
      this.#forget(piece)
      throw pieceMissing(piece)
    }
    if (!this.#closing.signal.aborted) this.#options.cache.put(this.#owner, piece, bytes)
    return bytes
  }

  /** Bytes for the storage to keep: shared memory where it says that it takes that, else plain. */
  #given(bytes: Uint8Array): Uint8Array {
    if (this.#storage.takesShared === true || !isShared(bytes)) return bytes
    const copy = Buffer.allocUnsafeSlow(bytes.length)
    copyBytes(bytes, copy, 0)
    // What is only lent may be in the cache, and is given back there.
    if (this.#storage.borrows !== true) recyclePieceBuffer(bytes)
    return copy
  }

  /** Pieces that a reader waits for are announced before the storage has them. */
  #writingOf(span: ByteRange): Promise<void>[] {
    if (this.#writing.size === 0) return []
    const pieces = this.layout.piecesOf(span)
    const writing: Promise<void>[] = []
    for (let piece = pieces.start; piece < pieces.end; piece++) {
      const one = this.#writing.get(piece)
      if (one !== undefined) writing.push(one)
    }
    return writing
  }

  #assertAvailable(span: ByteRange): void {
    const pieces = this.layout.piecesOf(span)
    for (let piece = pieces.start; piece < pieces.end; piece++) {
      if (!this.available.has(piece)) throw pieceMissing(piece)
      this.#admission?.touch(this.#owner, piece)
    }
  }

  #arrived(piece: number): void {
    this.#unchecked.clear(piece)
    if (this.available.set(piece)) this.#options.handler.onVerified(piece)
  }

  #forget(piece: number): void {
    this.#options.cache.delete(this.#owner, piece)
    if (this.available.clear(piece)) this.#options.handler.onLost(piece)
  }

  /** A storage that cannot give back what it took: those pieces are fetched again. */
  async #lost(span: ByteRange, cause: unknown): Promise<IsthmusError> {
    const pieces = this.layout.piecesOf(span)
    for (let piece = pieces.start; piece < pieces.end; piece++) {
      if (pieces.end - pieces.start > 1 && (await this.#isReadable(piece))) continue
      // In this order: told that it is gone, somebody may ask for a place for it at once.
      this.#admission?.release(this.#owner, piece)
      this.#forget(piece)
    }
    if (isIsthmusError(cause, 'ISTHMUS_PIECE_MISSING')) return cause
    this.#options.handler.onWarning(storageFailed(cause))
    return pieceMissing(pieces.start, cause)
  }

  async #isReadable(piece: number): Promise<boolean> {
    const { start } = this.layout.pieceRange(piece)
    try {
      await this.#storage.read({ start, end: start + 1 })
      return true
    } catch {
      return false
    }
  }

  /** Presence changed behind our back. */
  #changed(piece: number, present: boolean): void {
    if (present && !this.available.has(piece) && this.#storage.trust === 'owned') {
      this.#unchecked.set(piece)
      this.#options.handler.onAdmitted()
    } else if (!present && this.available.has(piece)) {
      this.#admission?.release(this.#owner, piece)
      this.#forget(piece)
    } else if (!present) this.#unchecked.clear(piece)
  }

  #hashOf(piece: number): Uint8Array {
    return pieceHash(this.#options.metainfo, piece)
  }
}

const CHECKS_AT_A_TIME = 4

/** Copies what of `bytes`, which stand at `start` in the torrent, lies in `span`. */
function copyOverlap(bytes: Uint8Array, start: number, into: Uint8Array, span: ByteRange): void {
  const from = Math.max(start, span.start)
  const to = Math.min(start + bytes.length, span.end)
  copyBytes(bytes.subarray(from - start, to - start), into, from - span.start)
}

/** A storage may answer with a buffer of its own: it is not looked at twice. */
function moveInto(into: Uint8Array, read: Uint8Array): Uint8Array {
  if (read === into) return into
  if (read.length !== into.length) {
    throw new RangeError(`it read ${read.length} bytes, not ${into.length}`)
  }
  into.set(read)
  return into
}

function equal(a: Uint8Array, b: Uint8Array): boolean {
  return Buffer.compare(a, b) === 0
}

function pieceMissing(piece: number, cause?: unknown): IsthmusError {
  return new IsthmusError('ISTHMUS_PIECE_MISSING', `piece ${piece} is not there`, { cause })
}

/** A foreign adapter's error is the cause of ours; ours pass through. */
function storageFailed(cause: unknown): IsthmusError {
  if (isIsthmusError(cause)) return cause
  const message = cause instanceof Error ? cause.message : String(cause)
  return new IsthmusError('ISTHMUS_STORAGE_FAILED', `the storage failed: ${message}`, { cause })
}
