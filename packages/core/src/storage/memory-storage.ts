import { assertRange, type ByteRange } from '../byte-source.ts'
import { copyBytes } from '../copy-bytes.ts'
import { IsthmusError } from '../errors.ts'
import { Bitfield } from '../metainfo/bitfield.ts'
import type { Layout } from '../metainfo/layout.ts'
import type { Metainfo } from '../metainfo/metainfo.ts'
import type { AbortOptions } from '../signal.ts'
import { recyclePieceBuffer } from './buffer-pool.ts'
import { ByteCapacity } from './byte-capacity.ts'
import { readBuffer } from './read-buffer.ts'
import type { PieceStorage, Storage, StorageOpenOptions, StorageState } from './storage.ts'
import { WrittenBytes } from './written-bytes.ts'

export interface MemoryStorageOptions {
  /** What `capacity` admits, for all torrents together. @defaultValue 268_435_456 (256 MiB) */
  readonly maxBytes?: number | undefined
  /**
   * Called with the buffer of a piece that was evicted, replaced or closed: the receiver's from then
   * on, to fill again. It is as long as its piece, and the very one that `write` took over, if it
   * took one. @defaultValue core uses it for the next piece
   */
  readonly recycle?: ((bytes: Uint8Array) => void) | undefined
}

/**
 * Pieces in memory, gone when their torrent is closed. It evicts nothing by itself: whoever writes
 * reserves room in `capacity` first and decides what goes.
 */
export class MemoryStorage implements Storage {
  readonly #memory: SharedMemory

  constructor(options: MemoryStorageOptions = {}) {
    const { maxBytes = 256 * 1024 * 1024, recycle = recyclePieceBuffer } = options
    this.#memory = { capacity: new ByteCapacity(maxBytes), recycle, heldBytes: 0 }
  }

  /** Bytes of the pieces that all its torrents hold now, whole or in the making. */
  get heldBytes(): number {
    return this.#memory.heldBytes
  }

  /** Starts empty, always: two that are open at a time share nothing but the capacity. */
  async open(metainfo: Metainfo, options: StorageOpenOptions = {}): Promise<PieceStorage> {
    options.signal?.throwIfAborted()
    return new MemoryPieces(metainfo.layout, this.#memory)
  }
}

/** What all torrents of one storage have in common. */
interface SharedMemory {
  readonly capacity: ByteCapacity
  readonly recycle: (bytes: Uint8Array) => void
  heldBytes: number
}

class MemoryPieces implements PieceStorage {
  readonly trust = 'owned'
  readonly inMemory = true
  readonly takesShared = true
  readonly capacity: ByteCapacity
  readonly #layout: Layout
  readonly #memory: SharedMemory
  readonly #buffers = new Map<number, Uint8Array>()
  readonly #written: WrittenBytes
  readonly #verified: Bitfield
  #closed = false

  constructor(layout: Layout, memory: SharedMemory) {
    this.capacity = memory.capacity
    this.#layout = layout
    this.#memory = memory
    this.#written = new WrittenBytes(layout)
    this.#verified = new Bitfield(layout.pieceCount)
  }

  async state(options: AbortOptions = {}): Promise<StorageState> {
    this.#check(options)
    return { present: this.#written.present.copy(), verified: this.#verified.copy() }
  }

  async read(
    span: ByteRange,
    options: AbortOptions & { readonly into?: Uint8Array | undefined } = {},
  ): Promise<Uint8Array> {
    this.#check(options)
    const layout = this.#layout
    const bytes = readBuffer(span, layout.length, options.into)
    const pieces = layout.piecesOf(span)
    let offset = span.start
    for (let piece = pieces.start; piece < pieces.end; piece++) {
      const range = layout.pieceRange(piece)
      const end = Math.min(span.end, range.end)
      // Behind the last piece of a file may be a gap (BEP 52), zeros like padding.
      if (end > offset)
        this.#readPiece(piece, { start: offset, end }, range.start, bytes, span.start)
      const next = Math.min(span.end, range.start + layout.pieceLength)
      bytes.fill(0, Math.max(offset, end) - span.start, next - span.start)
      offset = next
    }
    return bytes
  }

  async write(offset: number, bytes: Uint8Array, options: AbortOptions = {}): Promise<void> {
    this.#check(options)
    const span = { start: offset, end: offset + bytes.length }
    assertRange(span, this.#layout.length)
    const pieces = this.#layout.piecesOf(span)
    for (let piece = pieces.start; piece < pieces.end; piece++) {
      const range = this.#layout.pieceRange(piece)
      this.#verified.clear(piece)
      if (span.start === range.start && span.end === range.end) {
        this.#hold(piece, bytes)
        continue
      }
      const start = Math.max(span.start, range.start)
      const end = Math.min(span.end, range.end)
      if (start >= end) continue
      const part = bytes.subarray(start - span.start, end - span.start)
      this.#bufferOf(piece, range).set(part, start - range.start)
    }
    this.#written.add(span)
  }

  async commit(piece: number, options: AbortOptions = {}): Promise<void> {
    this.#check(options)
    if (!this.#written.present.has(piece)) {
      throw new IsthmusError('ISTHMUS_PIECE_MISSING', `piece ${piece} was not written whole`)
    }
    this.#verified.set(piece)
  }

  async evict(piece: number, options: AbortOptions = {}): Promise<void> {
    this.#check(options)
    this.#verified.clear(piece)
    this.#written.delete(piece)
    this.#letGo(piece)
  }

  async destroy(options: AbortOptions = {}): Promise<void> {
    this.#check(options)
    await this.close()
  }

  async close(): Promise<void> {
    this.#closed = true
    for (const piece of [...this.#buffers.keys()]) this.#letGo(piece)
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }

  #check({ signal }: AbortOptions): void {
    if (this.#closed) {
      throw new IsthmusError('ISTHMUS_STORAGE_CLOSED', 'this torrent was closed in the storage')
    }
    signal?.throwIfAborted()
  }

  /** Copies `part` of a piece that starts at `pieceStart` into `bytes`, which start at `bytesStart`. */
  #readPiece(
    piece: number,
    part: ByteRange,
    pieceStart: number,
    bytes: Uint8Array,
    bytesStart: number,
  ): void {
    if (!this.#written.present.has(piece) && !this.#written.has(part)) {
      throw new IsthmusError('ISTHMUS_PIECE_MISSING', `piece ${piece} is not in memory`)
    }
    const held = this.#buffers.get(piece)
    const target = part.start - bytesStart
    // Written and yet not held: padding.
    if (held === undefined) bytes.fill(0, target, part.end - bytesStart)
    else copyBytes(held.subarray(part.start - pieceStart, part.end - pieceStart), bytes, target)
  }

  #bufferOf(piece: number, range: ByteRange): Uint8Array {
    // Zeroed, for the padding in it is never written.
    return this.#buffers.get(piece) ?? this.#hold(piece, new Uint8Array(range.end - range.start))
  }

  #hold(piece: number, bytes: Uint8Array): Uint8Array {
    if (this.#buffers.get(piece) === bytes) return bytes
    this.#letGo(piece)
    this.#buffers.set(piece, bytes)
    this.#memory.heldBytes += bytes.length
    return bytes
  }

  #letGo(piece: number): void {
    const bytes = this.#buffers.get(piece)
    if (bytes === undefined) return
    this.#buffers.delete(piece)
    this.#memory.heldBytes -= bytes.length
    this.#memory.recycle(bytes)
  }
}
