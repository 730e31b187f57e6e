import type {
  AbortOptions,
  ByteRange,
  Metainfo,
  PieceStorage,
  Storage,
  StorageOpenOptions,
} from '@isthmus/core'
import { Bitfield, IsthmusError, primaryInfoHash } from '@isthmus/core'

/** What is kept of one torrent: its bytes, and beside each of them whether it was written. */
export class KeptTorrent {
  readonly bytes: Uint8Array
  readonly written: Uint8Array
  readonly verified: Bitfield

  constructor({ layout }: Metainfo) {
    this.bytes = new Uint8Array(layout.length)
    this.written = new Uint8Array(layout.length)
    this.verified = new Bitfield(layout.pieceCount)
    // Padding between files is zeros that nobody writes.
    for (const { file, range } of layout.filesOf({ start: 0, end: layout.length })) {
      if (file === -1) this.written.fill(1, range.start, range.end)
    }
  }
}

/** Keeps torrents in a `Map` that outlives the client: yours may be a database, or a bucket. */
export class MapStorage implements Storage {
  readonly #torrents: Map<string, KeptTorrent>

  constructor(torrents = new Map<string, KeptTorrent>()) {
    this.#torrents = torrents
  }

  async open(metainfo: Metainfo, options: StorageOpenOptions = {}): Promise<PieceStorage> {
    options.signal?.throwIfAborted()
    const key = `${primaryInfoHash(metainfo.id)} ${options.namespace ?? ''}`
    const kept = this.#torrents.get(key) ?? new KeptTorrent(metainfo)
    this.#torrents.set(key, kept)
    return new MapPieces(metainfo, kept)
  }
}

class MapPieces implements PieceStorage {
  readonly trust = 'owned'
  readonly #metainfo: Metainfo
  #kept: KeptTorrent | undefined

  constructor(metainfo: Metainfo, kept: KeptTorrent) {
    this.#metainfo = metainfo
    this.#kept = kept
  }

  async state({ signal }: AbortOptions = {}) {
    const { written, verified } = this.#open(signal)
    const { layout } = this.#metainfo
    const present = new Bitfield(layout.pieceCount)
    for (let piece = 0; piece < layout.pieceCount; piece++) {
      const { start, end } = layout.pieceRange(piece)
      if (!written.subarray(start, end).includes(0)) present.set(piece)
    }
    return { present, verified: verified.copy() }
  }

  async read({ start, end }: ByteRange, options: AbortOptions & { into?: Uint8Array } = {}) {
    const { bytes, written } = this.#open(options.signal)
    if (written.subarray(start, end).includes(0)) {
      throw new IsthmusError('ISTHMUS_PIECE_MISSING', `not all of ${start} to ${end} is there`)
    }
    const { into = new Uint8Array(end - start) } = options
    into.set(bytes.subarray(start, end))
    return into
  }

  async write(offset: number, bytes: Uint8Array, { signal }: AbortOptions = {}) {
    const kept = this.#open(signal)
    kept.bytes.set(bytes, offset)
    kept.written.fill(1, offset, offset + bytes.length)
  }

  async commit(piece: number, { signal }: AbortOptions = {}) {
    this.#open(signal).verified.set(piece)
  }

  async close() {
    this.#kept = undefined
  }

  [Symbol.asyncDispose]() {
    return this.close()
  }

  #open(signal?: AbortSignal): KeptTorrent {
    signal?.throwIfAborted()
    if (this.#kept !== undefined) return this.#kept
    throw new IsthmusError('ISTHMUS_STORAGE_CLOSED', 'this torrent was closed')
  }
}
