import type {
  AbortOptions,
  ByteRange,
  Layout,
  Metainfo,
  PieceStorage,
  Storage,
} from '@isthmus/core'
import { Bitfield, IsthmusError, primaryInfoHash, WrittenBytes } from '@isthmus/core'

/** Keeps torrents in a `Map`, where the next client finds them: yours may be a database. */
export class MapStorage implements Storage {
  readonly #torrents = new Map<string, Kept>()

  async open({ id, layout }: Metainfo, options: AbortOptions & { namespace?: string } = {}) {
    options.signal?.throwIfAborted()
    const key = `${primaryInfoHash(id)} ${options.namespace ?? ''}`
    const kept = this.#torrents.get(key) ?? new Kept(layout)
    this.#torrents.set(key, kept)
    return new MapPieces(layout, kept)
  }
}

class Kept {
  readonly bytes: Uint8Array
  readonly written: WrittenBytes
  readonly verified: Bitfield

  constructor(layout: Layout) {
    this.bytes = new Uint8Array(layout.length)
    this.written = new WrittenBytes(layout)
    this.verified = new Bitfield(layout.pieceCount)
  }
}

class MapPieces implements PieceStorage {
  readonly trust = 'owned'
  readonly #layout: Layout
  readonly #kept: Kept
  #isOpen = true

  constructor(layout: Layout, kept: Kept) {
    this.#layout = layout
    this.#kept = kept
  }

  async state({ signal }: AbortOptions = {}) {
    this.#check(signal)
    return { present: this.#kept.written.present.copy(), verified: this.#kept.verified.copy() }
  }

  async read(span: ByteRange, options: AbortOptions & { into?: Uint8Array } = {}) {
    this.#check(options.signal)
    if (!this.#kept.written.has(span))
      throw new IsthmusError('ISTHMUS_PIECE_MISSING', 'not written')
    const { into = new Uint8Array(span.end - span.start) } = options
    into.set(this.#kept.bytes.subarray(span.start, span.end))
    return into
  }

  async write(offset: number, bytes: Uint8Array, { signal }: AbortOptions = {}) {
    this.#check(signal)
    const span = { start: offset, end: offset + bytes.length }
    this.#kept.bytes.set(bytes, offset)
    this.#kept.written.add(span)
    const { start, end } = this.#layout.piecesOf(span)
    for (let piece = start; piece < end; piece++) this.#kept.verified.clear(piece)
  }

  async commit(piece: number, { signal }: AbortOptions = {}) {
    this.#check(signal)
    this.#kept.verified.set(piece)
  }

  async close() {
    this.#isOpen = false
  }

  async [Symbol.asyncDispose]() {
    await this.close()
  }

  #check(signal?: AbortSignal) {
    signal?.throwIfAborted()
    if (!this.#isOpen) throw new IsthmusError('ISTHMUS_STORAGE_CLOSED', 'this torrent was closed')
  }
}
