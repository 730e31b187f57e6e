import {
  type AbortOptions,
  assertRange,
  type ByteRange,
  IsthmusError,
  type Layout,
  type Metainfo,
  type PieceStorage,
  readBuffer,
  type StorageCapacity,
  type StorageState,
  storageError,
  WorkGate,
} from '@isthmus/core'
import { KeyedTurns } from './keyed-turns.ts'
import type { PieceHolder } from './piece-file.ts'
import type { PieceFolder } from './piece-folder.ts'
import { contentRuns, PiecePart } from './piece-part.ts'
import { type PieceWatcher, SeenPieces } from './seen-pieces.ts'

export interface CachedPiecesOptions {
  readonly metainfo: Metainfo
  readonly folder: PieceFolder
  /** Something was committed, and is to be synced in a while. */
  readonly committed: () => void
  /** Syncs all that was committed. Called once, when nothing more of this torrent comes. */
  readonly closed: () => Promise<void>
}

const REMOVALS_AT_ONCE = 32

/** The pieces of one torrent in a cache that it shares with others. */
export class CachedPieces implements PieceStorage {
  readonly trust = 'owned'
  readonly takesShared = true
  readonly borrows = true
  readonly #name: string
  readonly #layout: Layout
  readonly #folder: PieceFolder
  readonly #options: CachedPiecesOptions
  readonly #seen: SeenPieces
  readonly #parts = new Map<number, PiecePart>()
  /** What changes a piece goes one after the other. */
  readonly #turns = new KeyedTurns<number>()
  readonly #gate = new WorkGate()
  #closing: Promise<void> | undefined

  static async open(options: CachedPiecesOptions, { signal }: AbortOptions): Promise<CachedPieces> {
    const pieces = new CachedPieces(options)
    try {
      await pieces.#look(signal)
      return pieces
    } catch (error) {
      pieces.#seen.close()
      throw error
    }
  }

  private constructor(options: CachedPiecesOptions) {
    const { metainfo, folder } = options
    this.#options = options
    this.#name = metainfo.name
    this.#layout = metainfo.layout
    this.#folder = folder
    this.#seen = new SeenPieces(metainfo, folder)
  }

  get capacity(): StorageCapacity {
    return this.#folder.space.capacity
  }

  state(options: AbortOptions = {}): Promise<StorageState> {
    return this.#gate.enter(options, async () => {
      await this.#look(options.signal)
      return { present: this.#seen.written.present.copy(), verified: this.#seen.verified() }
    })
  }

  watch(changed: PieceWatcher): Disposable {
    return this.#seen.watch(changed)
  }

  read(
    span: ByteRange,
    options: AbortOptions & { readonly into?: Uint8Array | undefined } = {},
  ): Promise<Uint8Array> {
    return this.#gate.enter(options, async () => {
      const bytes = readBuffer(span, this.#layout.length, options.into)
      try {
        await this.#read(span, bytes, options.signal)
        return bytes
      } catch (error) {
        // Whoever asked takes all of it for lost, and gives its places away.
        if (options.signal?.aborted !== true) this.#losePlaces(span)
        throw error
      }
    })
  }

  /** What is there of them is spared; what another torrent brought meanwhile is seen. */
  want(pieces: readonly number[]): void {
    if (!this.#gate.isClosed) this.#seen.want(pieces, this.#isBusy)
  }

  write(offset: number, bytes: Uint8Array, options: AbortOptions = {}): Promise<void> {
    return this.#gate.enter(options, async () => {
      const span = { start: offset, end: offset + bytes.length }
      assertRange(span, this.#layout.length)
      const pieces = this.#layout.piecesOf(span)
      for (let piece = pieces.start; piece < pieces.end; piece++) {
        options.signal?.throwIfAborted()
        const range = this.#layout.pieceRange(piece)
        const start = Math.max(span.start, range.start)
        const end = Math.min(span.end, range.end)
        if (start >= end) continue
        const part = bytes.subarray(start - offset, end - offset)
        await this.#turns.take(piece, () => this.#writePart(piece, { start, end }, part))
      }
    })
  }

  commit(piece: number, options: AbortOptions = {}): Promise<void> {
    return this.#gate.enter(options, () =>
      this.#turns.take(piece, async () => {
        const part = this.#parts.get(piece)
        if (!this.#seen.written.present.has(piece)) {
          throw this.#missing(this.#layout.pieceRange(piece))
        }
        if (part !== undefined) await this.#keep(piece, part)
        const file = this.#seen.get(piece)?.file
        if (file !== undefined && this.#folder.commit(file)) this.#options.committed()
      }),
    )
  }

  /** The file stays where another torrent that is open sees the same piece. */
  evict(piece: number, options: AbortOptions = {}): Promise<void> {
    return this.#gate.enter(options, () =>
      this.#turns.take(piece, async () => {
        await this.#remove(piece, this.#seen.evict(piece))
      }),
    )
  }

  async destroy(options: AbortOptions = {}): Promise<void> {
    await this.#gate.enter(options, async () => {
      this.#closing = this.#close(true)
    })
    await this.#closing
  }

  close(): Promise<void> {
    this.#closing ??= this.#close(false)
    return this.#closing
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }

  async #close(destroy: boolean): Promise<void> {
    // Whoever drives us has given its places back: others may need the room.
    this.#seen.losePlaces()
    await this.#gate.close()
    try {
      await settleAll([...this.#parts.values()].map((part) => part.discard()))
    } finally {
      const unseen = this.#seen.close()
      try {
        if (destroy) await this.#removeAll()
      } finally {
        await this.#options.closed().finally(() => this.#folder.openFiles.close(unseen))
      }
    }
  }

  /** Also what other torrents left behind of the same pieces; not what one that is open sees. */
  async #removeAll(): Promise<void> {
    let removals: Promise<void>[] = []
    for (let piece = 0; piece < this.#layout.pieceCount; piece++) {
      const file = this.#folder.get(this.#seen.nameOf(piece))
      if (file?.holders.size === 0) removals.push(this.#folder.remove(file))
      if (removals.length < REMOVALS_AT_ONCE) continue
      await settleAll(removals)
      removals = []
    }
    await settleAll(removals)
  }

  #look(signal: AbortSignal | undefined): Promise<void> {
    return this.#seen.look(this.#isBusy, signal)
  }

  readonly #isBusy = (piece: number): boolean =>
    this.#parts.has(piece) || this.#turns.settled(piece) !== undefined

  async #read(span: ByteRange, bytes: Uint8Array, signal: AbortSignal | undefined): Promise<void> {
    const layout = this.#layout
    if (!this.#seen.written.has(span)) throw this.#missing(span)
    const pieces = layout.piecesOf(span)
    let offset = span.start
    for (let piece = pieces.start; piece < pieces.end; piece++) {
      signal?.throwIfAborted()
      const range = layout.pieceRange(piece)
      const end = Math.max(offset, Math.min(span.end, range.end))
      const part = bytes.subarray(offset - span.start, end - span.start)
      await this.#readPart(piece, { start: offset, end }, part)
      // Behind the last piece of a file may be a gap (BEP 52).
      offset = Math.min(span.end, range.start + layout.pieceLength)
      bytes.fill(0, end - span.start, offset - span.start)
    }
  }

  #losePlaces(span: ByteRange): void {
    const pieces = this.#layout.piecesOf(span)
    for (let piece = pieces.start; piece < pieces.end; piece++) {
      const holder = this.#seen.get(piece)
      if (holder !== undefined) this.#seen.losePlace(holder)
    }
  }

  async #readPart(piece: number, span: ByteRange, bytes: Uint8Array): Promise<void> {
    await this.#turns.settled(piece)
    if (!this.#seen.written.has(span)) throw this.#missing(span)
    if (await this.#readNow(piece, span, bytes)) return
    // Another one took its place, or it is gone.
    await this.#readPart(piece, span, bytes)
  }

  /** @returns false where what was there when it began is not there any more. */
  async #readNow(piece: number, span: ByteRange, bytes: Uint8Array): Promise<boolean> {
    const position = span.start - this.#layout.pieceRange(piece).start
    const part = this.#parts.get(piece)
    const holder = this.#seen.get(piece)
    if (part !== undefined) {
      if (await part.read(bytes, position)) return true
      if (this.#parts.get(piece) === part) await this.#remove(piece, this.#seen.forget(piece))
      return false
    }
    if (holder !== undefined) {
      const { file } = holder
      if (await this.#folder.read(file, bytes, position)) return true
      if (this.#seen.get(piece)?.file === file) this.#seen.lost(piece)
      return false
    }
    // Padding.
    bytes.fill(0)
    return true
  }

  async #writePart(piece: number, span: ByteRange, bytes: Uint8Array): Promise<void> {
    const { start } = this.#layout.pieceRange(piece)
    const runs = contentRuns(this.#layout, span, start)
    if (runs.length === 0) return
    try {
      const isWhole = span.end - span.start === this.#layout.pieceSize(piece)
      const part = this.#parts.get(piece) ?? (await this.#begin(piece, isWhole))
      await part.write(runs, bytes, span.start - start)
      this.#seen.written.add(span)
      this.#seen.wrote(piece)
    } catch (error) {
      // What was written of it before may be torn.
      await this.#remove(piece, this.#seen.forget(piece)).catch(() => {})
      throw error
    }
  }

  /** What was committed goes on as a part, unless it is about to be overwritten as a whole. */
  async #begin(piece: number, isWhole: boolean): Promise<PiecePart> {
    const range = this.#layout.pieceRange(piece)
    const size = range.end - range.start
    let before: Uint8Array | undefined
    if (this.#seen.get(piece) !== undefined && !isWhole) {
      const bytes = new Uint8Array(size)
      if (await this.#readNow(piece, range, bytes)) before = bytes
    }
    await this.#remove(piece, this.#seen.forget(piece))
    const part = await PiecePart.make(this.#folder, this.#seen.nameOf(piece), size)
    this.#parts.set(piece, part)
    if (before !== undefined) {
      await part.write([{ start: 0, end: size }], before, 0)
      this.#seen.written.add(range)
    }
    return part
  }

  async #keep(piece: number, part: PiecePart): Promise<void> {
    const name = this.#seen.nameOf(piece)
    try {
      const mark = await part.mark()
      if (mark.size !== this.#layout.pieceSize(piece)) {
        throw this.#missing(this.#layout.pieceRange(piece))
      }
      const newHolder = this.#seen.newHolder(piece)
      this.#seen.add(await this.#folder.put(name, part.name, mark, newHolder))
      this.#parts.delete(piece)
      await part.leave()
    } catch (error) {
      await this.#remove(piece, this.#seen.forget(piece)).catch(() => {})
      throw storageError(error, `keeping piece ${name}`)
    }
  }

  /** Deletes what came of a piece so far, and the file that nobody sees any more. */
  async #remove(piece: number, unseen: PieceHolder['file'] | undefined): Promise<void> {
    const part = this.#parts.get(piece)
    this.#parts.delete(piece)
    if (unseen !== undefined) await this.#folder.remove(unseen)
    await part?.discard()
  }

  #missing({ start, end }: ByteRange): IsthmusError {
    const text = `bytes ${start} to ${end} of ${this.#name} are not here`
    return new IsthmusError('ISTHMUS_PIECE_MISSING', text)
  }
}

/** Waits for all, then rejects with what went wrong first. */
async function settleAll(work: readonly Promise<void>[]): Promise<void> {
  const settled = await Promise.allSettled(work)
  for (const outcome of settled) if (outcome.status === 'rejected') throw outcome.reason
}
