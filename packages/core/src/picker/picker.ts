import type { ByteRange } from '../byte-source.ts'
import { Bitfield } from '../metainfo/bitfield.ts'
import { BLOCK_LENGTH, type Layout } from '../metainfo/layout.ts'
import type { BlockRequest } from '../wire/data-plane.ts'
import { PieceBlocks } from './piece-blocks.ts'

export interface PickerOptions {
  readonly layout: Layout
  /** Pieces that are here. Not a copy: the picker looks at it, its owner changes it. */
  readonly verified: Bitfield
  /** Whether a piece may be started now. False holds it back until the next `pick`. */
  readonly mayStart: (piece: number) => boolean
  /** A block that a reader waits for, or the last ones of a download, is asked from a second peer after so long. */
  readonly hedgeMs: number
  /** Numbers from 0 up to 1. */
  readonly random: () => number
}

/** What a reader needs: pieces from where it is up to the end of its readahead, half-open. */
export type PieceWindow = ByteRange

/** What became of a block that came. */
export interface BlockOutcome<P> {
  /** All blocks of the piece are here. */
  readonly complete: boolean
  /** Others that were asked too: they get a cancel. */
  readonly cancel: readonly P[]
}

/**
 * Chooses what to ask of whom: the pieces that readers wait for by their distance, then the rest
 * rarest first. It is pure: no socket, clock or randomness of its own. `P` is any object that stands
 * for a peer.
 */
export class Picker<P extends object> {
  readonly #options: PickerOptions
  readonly #layout: Layout
  readonly #peers = new Map<P, Bitfield>()
  readonly #started = new Map<number, PieceBlocks<P>>()
  readonly #complete = new Set<number>()
  readonly #availability: Uint16Array
  readonly #windows = new Map<object, PieceWindow>()
  readonly #wanted: Bitfield
  /** After a failed hash: the only peer that may fill the piece, once one took it. */
  readonly #soleSource = new Map<number, P | undefined>()
  /** Pieces of the windows that are not here, nearest first; undefined when it must be made anew. */
  #urgent: number[] | undefined

  constructor(options: PickerOptions) {
    this.#options = options
    this.#layout = options.layout
    this.#availability = new Uint16Array(options.layout.pieceCount)
    this.#wanted = new Bitfield(options.layout.pieceCount)
  }

  // Peers

  addPeer(peer: P): void {
    this.#peers.set(peer, new Bitfield(this.#layout.pieceCount))
  }

  /** What it was asked for is free again. @returns nothing to cancel: the connection is gone. */
  removePeer(peer: P, asked: readonly BlockRequest[]): void {
    for (const request of asked) this.giveBack(peer, request)
    const has = this.#peers.get(peer)
    if (has !== undefined) this.#count(has, -1)
    this.#peers.delete(peer)
    for (const [piece, source] of this.#soleSource) {
      if (source === peer) this.#soleSource.set(piece, undefined)
    }
  }

  peerHas(peer: P, piece: number): void {
    if (this.#peers.get(peer)?.set(piece) === true) this.#countPiece(piece, 1)
  }

  peerHasAll(peer: P, pieces: Bitfield): void {
    const before = this.#peers.get(peer)
    if (before === undefined) return
    this.#count(before, -1)
    this.#peers.set(peer, pieces)
    this.#count(pieces, 1)
  }

  /** Whether the peer has anything that somebody wants. */
  isInteresting(peer: P): boolean {
    const has = this.#peers.get(peer)
    if (has === undefined || has.count === 0) return false
    if (this.#urgentPieces().some((piece) => has.has(piece))) return true
    const { verified } = this.#options
    for (let at = 0; at < has.bytes.length; at++) {
      const useful = (has.bytes[at] as number) & (this.#wanted.bytes[at] as number)
      if ((useful & ~(verified.bytes[at] as number)) !== 0) return true
    }
    return false
  }

  // What is wanted

  setWindow(reader: object, window: PieceWindow): void {
    const before = this.#windows.get(reader)
    if (before?.start === window.start && before.end === window.end) return
    this.#windows.set(reader, window)
    this.#urgent = undefined
  }

  removeWindow(reader: object): void {
    if (this.#windows.delete(reader)) this.#urgent = undefined
  }

  /** Wanted without a reader: rarest first, in nobody's hurry. */
  want(piece: number): void {
    this.#wanted.set(piece)
  }

  unwant(piece: number): void {
    this.#wanted.clear(piece)
  }

  /** How far ahead of the nearest reader the piece is; Infinity where it lies in no window. */
  distanceOf(piece: number): number {
    let distance = Number.POSITIVE_INFINITY
    for (const { start, end } of this.#windows.values()) {
      if (piece >= start && piece < end) distance = Math.min(distance, piece - start)
    }
    return distance
  }

  /** Whether somebody wants the piece: a reader, or a download. */
  isWanted(piece: number): boolean {
    return this.#wanted.has(piece) || this.isInWindow(piece)
  }

  isInWindow(piece: number): boolean {
    return this.distanceOf(piece) !== Number.POSITIVE_INFINITY
  }

  get startedPieces(): readonly number[] {
    return [...this.#started.keys()]
  }

  /** The nearest pieces that readers wait for. */
  urgent(atMost: number): readonly number[] {
    return this.#urgentPieces().slice(0, atMost)
  }

  windowOf(reader: object): PieceWindow | undefined {
    return this.#windows.get(reader)
  }

  // What happens

  /** Who holds the blocks of a piece that is being filled. */
  blocksOf(piece: number): PieceBlocks<P> | undefined {
    return this.#started.get(piece)
  }

  /** @returns undefined where nobody waits for this block any more. */
  received(peer: P, { piece, begin }: BlockRequest): BlockOutcome<P> | undefined {
    const blocks = this.#started.get(piece)
    const others = blocks?.receive(begin / BLOCK_LENGTH, peer)
    if (blocks === undefined || others === undefined) return undefined
    if (blocks.isComplete) this.#complete.add(piece)
    return { complete: blocks.isComplete, cancel: others }
  }

  /** The peer will not send it, or it was cancelled. */
  giveBack(peer: P, { piece, begin }: BlockRequest): void {
    this.#started.get(piece)?.giveBack(begin / BLOCK_LENGTH, peer)
  }

  /** The piece is here (its bit in `verified` is set): nothing more is asked of it. */
  finished(piece: number): void {
    this.#started.delete(piece)
    this.#complete.delete(piece)
    this.#soleSource.delete(piece)
    const index = this.#urgent?.indexOf(piece) ?? -1
    if (index !== -1) this.#urgent?.splice(index, 1)
  }

  /** Its hash was wrong: from the beginning, and all of it from one peer. */
  failed(piece: number): void {
    this.#started.delete(piece)
    this.#complete.delete(piece)
    this.#soleSource.set(piece, undefined)
    this.#urgent = undefined
  }

  /** What came of the piece was thrown away, or it is gone from the storage: it may be wanted again. */
  dropped(piece: number): void {
    this.#started.delete(piece)
    this.#complete.delete(piece)
    this.#urgent = undefined
  }

  /**
   * What to ask of `peer` now, at most `room` blocks, most urgent first. Blocks that are answered are
   * counted as asked.
   */
  pick(peer: P, room: number, now: number): BlockRequest[] {
    const picked: BlockRequest[] = []
    const has = this.#peers.get(peer)
    if (has === undefined || room <= 0) return picked
    this.#pickUrgent(peer, has, room, now, picked)
    if (picked.length < room) this.#pickStarted(peer, has, room, now, picked)
    while (picked.length < room) {
      const piece = this.#rarest(has)
      if (piece === -1) break
      if (this.#take(piece, peer, room, now, picked) === 0) break
    }
    if (picked.length === 0) this.#pickLate(peer, has, room, now, picked)
    return picked
  }

  #pickUrgent(peer: P, has: Bitfield, room: number, now: number, picked: BlockRequest[]): void {
    for (const piece of this.#urgentPieces()) {
      if (!has.has(piece)) continue
      this.#take(piece, peer, room, now, picked)
      if (picked.length >= room) return
    }
  }

  #pickStarted(peer: P, has: Bitfield, room: number, now: number, picked: BlockRequest[]): void {
    for (const [piece, blocks] of this.#started) {
      if (blocks.freeCount === 0 || !has.has(piece) || !this.#wanted.has(piece)) continue
      this.#take(piece, peer, room, now, picked)
      if (picked.length >= room) return
    }
  }

  /** Nothing is free: a block that is late, or the last ones of all (end game), from this peer as well. */
  #pickLate(peer: P, has: Bitfield, room: number, now: number, picked: BlockRequest[]): void {
    for (const [piece, blocks] of this.#started) {
      if (blocks.isComplete || !has.has(piece) || this.#soleSource.has(piece)) continue
      if (!this.isWanted(piece)) continue
      while (picked.length < room) {
        const block = blocks.hedge(peer, now - this.#options.hedgeMs, now)
        if (block === -1) break
        picked.push(this.#request(piece, block))
      }
    }
  }

  /** Takes free blocks of one piece, starting it where need be. @returns how many. */
  #take(piece: number, peer: P, room: number, now: number, picked: BlockRequest[]): number {
    if (this.#complete.has(piece) || !this.#maySource(piece, peer)) return 0
    let blocks = this.#started.get(piece)
    if (blocks === undefined) {
      if (!this.#options.mayStart(piece)) return 0
      const layout = this.#layout
      blocks = new PieceBlocks(piece, layout.pieceSize(piece), layout.blockCount(piece))
      this.#started.set(piece, blocks)
    }
    let count = 0
    while (picked.length < room) {
      const block = blocks.take(peer, now)
      if (block === -1) break
      picked.push(this.#request(piece, block))
      count++
    }
    if (count > 0 && this.#soleSource.has(piece)) this.#soleSource.set(piece, peer)
    return count
  }

  #maySource(piece: number, peer: P): boolean {
    if (!this.#soleSource.has(piece)) return true
    const source = this.#soleSource.get(piece)
    return source === undefined || source === peer
  }

  #request(piece: number, block: number): BlockRequest {
    return { piece, begin: block * BLOCK_LENGTH, length: this.#layout.blockSize(piece, block) }
  }

  /** A wanted piece that nobody has started and fewest peers have, from a random place on; -1 if there is none. */
  #rarest(has: Bitfield): number {
    if (this.#wanted.count === 0) return -1
    const { verified } = this.#options
    const count = this.#layout.pieceCount
    const from = Math.floor(this.#options.random() * count)
    let best = -1
    let fewest = Number.POSITIVE_INFINITY
    for (let step = 0; step < count; step++) {
      const piece = from + step < count ? from + step : from + step - count
      if (!this.#wanted.has(piece) || verified.has(piece) || !has.has(piece)) continue
      if (this.#started.has(piece)) continue
      const available = this.#availability[piece] as number
      if (available >= fewest) continue
      best = piece
      fewest = available
      if (fewest <= 1) break
    }
    return best
  }

  #urgentPieces(): readonly number[] {
    this.#urgent ??= interleave([...this.#windows.values()], this.#options.verified)
    return this.#urgent
  }

  #count(pieces: Bitfield, by: 1 | -1): void {
    for (let piece = 0; piece < pieces.length; piece++) {
      if (pieces.has(piece)) this.#countPiece(piece, by)
    }
  }

  #countPiece(piece: number, by: 1 | -1): void {
    this.#availability[piece] = (this.#availability[piece] as number) + by
  }
}

/** The nearest piece of every window first, then the second of each, without those that are here. */
function interleave(windows: readonly PieceWindow[], verified: Bitfield): number[] {
  const pieces = new Set<number>()
  const farthest = Math.max(0, ...windows.map((window) => window.end - window.start))
  for (let distance = 0; distance < farthest; distance++) {
    for (const window of windows) {
      const piece = window.start + distance
      if (piece < window.end && !verified.has(piece)) pieces.add(piece)
    }
  }
  return [...pieces]
}
