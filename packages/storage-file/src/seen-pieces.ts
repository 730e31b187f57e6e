import { Bitfield, type Layout, type Metainfo, WrittenBytes } from '@isthmus/core'
import type { PieceFile, PieceHolder } from './piece-file.ts'
import type { PieceFolder } from './piece-folder.ts'
import { pieceName } from './piece-name.ts'

export type PieceWatcher = (piece: number, present: boolean) => void

/** Pieces looked for before others get their turn. */
const LOOKS_AT_ONCE = 4096

/** Which files of a folder one torrent sees as its pieces, and what of its bytes is there. */
export class SeenPieces {
  /** Also of the pieces in the making. */
  readonly written: WrittenBytes
  readonly #metainfo: Metainfo
  readonly #layout: Layout
  readonly #folder: PieceFolder
  readonly #holders = new Map<number, PieceHolder>()
  /** Gone for this torrent, though another one may keep the bytes. */
  readonly #evicted: Bitfield
  #urgencies: ReadonlyMap<number, number> = new Map()
  readonly #watchers = new Set<PieceWatcher>()

  constructor(metainfo: Metainfo, folder: PieceFolder) {
    this.#metainfo = metainfo
    this.#layout = metainfo.layout
    this.#folder = folder
    this.written = new WrittenBytes(metainfo.layout)
    this.#evicted = new Bitfield(metainfo.layout.pieceCount)
  }

  nameOf(piece: number): string {
    return pieceName(this.#metainfo, piece)
  }

  get(piece: number): PieceHolder | undefined {
    return this.#holders.get(piece)
  }

  /** Committed and synced. */
  verified(): Bitfield {
    const verified = new Bitfield(this.#layout.pieceCount)
    for (const [piece, { file }] of this.#holders) if (file.synced) verified.set(piece)
    return verified
  }

  /** Sees all that is there but `isBusy` pieces, which are in the making. */
  async look(isBusy: (piece: number) => boolean, signal: AbortSignal | undefined): Promise<void> {
    for (let piece = 0; piece < this.#layout.pieceCount; piece++) {
      if (this.#folder.size === 0) return
      if (!isBusy(piece)) this.#lookFor(piece)
      if (piece % LOOKS_AT_ONCE !== LOOKS_AT_ONCE - 1) continue
      await new Promise(setImmediate)
      signal?.throwIfAborted()
    }
  }

  /** What will be read soon is used now; what another torrent brought of it is seen, and told. */
  want(pieces: readonly number[], isBusy: (piece: number) => boolean): void {
    this.#urgencies = new Map(pieces.map((piece, index) => [piece, index]))
    // The most urgent last, and so used last.
    for (const piece of pieces.toReversed()) {
      if (!isBusy(piece) && this.#lookFor(piece)) this.#tell(piece)
      const holder = this.#holders.get(piece)
      if (holder !== undefined) this.#folder.space.touch(holder.file)
    }
  }

  watch(watcher: PieceWatcher): Disposable {
    // A function of its own: the same one may watch twice.
    const own: PieceWatcher = (piece, present) => watcher(piece, present)
    this.#watchers.add(own)
    return { [Symbol.dispose]: () => this.#watchers.delete(own) }
  }

  /** For a file that this torrent wrote, under a place that it was given. */
  newHolder(piece: number): Omit<PieceHolder, 'file'> {
    return {
      piece,
      hasPlace: true,
      urgency: () => this.#urgencies.get(piece),
      lost: () => this.lost(piece),
    }
  }

  add(holder: PieceHolder): void {
    this.#holders.set(holder.piece, holder)
    this.written.add(this.#layout.pieceRange(holder.piece))
  }

  /** Bytes of the piece were written: it is nobody's but ours until it is committed. */
  wrote(piece: number): void {
    this.#evicted.clear(piece)
  }

  /** Sees nothing of the piece any more. @returns its file, where nobody else sees that. */
  forget(piece: number): PieceFile | undefined {
    const holder = this.#holders.get(piece)
    this.#holders.delete(piece)
    this.written.delete(piece)
    if (holder === undefined) return undefined
    this.#folder.unhold(holder)
    return holder.file.holders.size === 0 ? holder.file : undefined
  }

  /** Like {@link forget}, until it is written again. */
  evict(piece: number): PieceFile | undefined {
    this.#evicted.set(piece)
    return this.forget(piece)
  }

  /** The file of the piece is gone, or wrong. */
  lost(piece: number): void {
    if (!this.#holders.delete(piece)) return
    this.written.delete(piece)
    this.#tell(piece)
  }

  /** Whoever drives us has given its place for the piece away. */
  losePlace(holder: PieceHolder): void {
    holder.hasPlace = false
    this.#folder.space.settle(holder.file)
  }

  losePlaces(): void {
    for (const holder of this.#holders.values()) this.losePlace(holder)
  }

  /** Sees nothing any more; watchers are told nothing more. @returns the files that nobody sees now. */
  close(): PieceFile[] {
    this.#watchers.clear()
    this.#urgencies = new Map()
    const held = [...this.#holders.values()]
    this.#holders.clear()
    for (const holder of held) this.#folder.unhold(holder)
    return held.map(({ file }) => file).filter(({ holders }) => holders.size === 0)
  }

  /** @returns whether the piece is there and was not seen before. */
  #lookFor(piece: number): boolean {
    if (this.#holders.has(piece) || this.#evicted.has(piece)) return false
    const file = this.#folder.get(this.nameOf(piece))
    if (file === undefined || file.mark.size !== this.#layout.pieceSize(piece)) return false
    const holder = { ...this.newHolder(piece), hasPlace: false, file }
    this.#folder.hold(holder)
    this.add(holder)
    return true
  }

  /** Later, for who is told may read, want or close. */
  #tell(piece: number): void {
    if (this.#watchers.size === 0) return
    queueMicrotask(() => {
      const present = this.written.present.has(piece)
      for (const watcher of this.#watchers) watcher(piece, present)
    })
  }
}
