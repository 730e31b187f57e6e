import type { ByteRange } from '../byte-source.ts'
import { Bitfield } from '../metainfo/bitfield.ts'
import { BLOCK_LENGTH, type Layout } from '../metainfo/layout.ts'
import type { BlockRequest } from '../wire/data-plane.ts'
import { arrivalMs, type Pace } from './peer-pace.ts'
import { PieceBlocks } from './piece-blocks.ts'
import { SwarmPace } from './swarm-pace.ts'

export interface PickerOptions<P> {
  readonly layout: Layout
  /** Pieces that are here. Not a copy: the picker looks at it, its owner changes it. */
  readonly verified: Bitfield
  /** Whether a piece may be started now. False holds it back until the next `pick`. */
  readonly mayStart: (piece: number) => boolean
  /** How fast the peer is. */
  readonly paceOf: (peer: P) => Pace
  /** A block of which nobody can tell when it comes is late after so long, in ms. */
  readonly hedgeMs: number
  /** Numbers from 0 up to 1. */
  readonly random: () => number
}

/** What a reader needs: pieces from where it is up to the end of its readahead, half-open. */
export type PieceWindow = ByteRange

/** One peer's turn to be asked. */
interface Turn<P> {
  readonly peer: P
  readonly has: Bitfield
  room: number
  readonly now: number
  readonly pace: Pace
  readonly picked: BlockRequest[]
}

/** Blocks that a peer gets before the first of them came. */
const UNTRIED_BLOCKS = 8
/** How many of a reader's next pieces may be asked of two peers. */
const HEDGED_PIECES = 2
/** A block is late when it is due for longer than this: estimates are no better. */
const LATE_MS = 30

/** What became of a block that came. */
export interface BlockOutcome<P> {
  /** All blocks of the piece are here. */
  readonly complete: boolean
  /** Others that were asked too: they get a cancel. */
  readonly cancel: readonly P[]
}

/** Who alone may fill a piece that failed its hash. */
interface SoleSource<P> {
  /** Undefined until one takes it. */
  peer: P | undefined
  /** Took it, and did not finish: others come first. */
  readonly gaveUp: Set<P>
}

/**
 * Chooses what to ask of whom: the pieces that readers wait for by their distance, then the rest
 * rarest first. It is pure: no socket, clock or randomness of its own. `P` is any object that stands
 * for a peer.
 */
export class Picker<P extends object> {
  readonly #options: PickerOptions<P>
  readonly #layout: Layout
  readonly #peers = new Map<P, Bitfield>()
  readonly #started = new Map<number, PieceBlocks<P>>()
  readonly #complete = new Set<number>()
  readonly #availability: Uint16Array
  readonly #windows = new Map<object, PieceWindow>()
  readonly #wanted: Bitfield
  /** How many want a piece that is in `#wanted`. */
  readonly #wantedBy: Uint16Array
  readonly #soleSources = new Map<number, SoleSource<P>>()
  /** Pieces that a peer refused to send, and until when it is not asked for them. */
  readonly #refused = new Map<P, Map<number, number>>()
  readonly #swarmPace = new SwarmPace<P>()
  /** Pieces of the windows that are not here, nearest first; undefined when it must be made anew. */
  #urgent: number[] | undefined

  constructor(options: PickerOptions<P>) {
    this.#options = options
    this.#layout = options.layout
    this.#availability = new Uint16Array(options.layout.pieceCount)
    this.#wanted = new Bitfield(options.layout.pieceCount)
    this.#wantedBy = new Uint16Array(options.layout.pieceCount)
  }

  // Peers

  addPeer(peer: P): void {
    this.#peers.set(peer, new Bitfield(this.#layout.pieceCount))
  }

  /** What it was asked for is free again. @returns pieces that must begin anew: they were its alone. */
  removePeer(peer: P): readonly number[] {
    for (const blocks of this.#started.values()) blocks.removePeer(peer)
    const released = this.releaseSource(peer)
    for (const { gaveUp } of this.#soleSources.values()) gaveUp.delete(peer)
    const has = this.#peers.get(peer)
    if (has !== undefined) this.#count(has, -1)
    this.#peers.delete(peer)
    this.#refused.delete(peer)
    return released
  }

  /** The peer does not deliver: pieces that were its alone are for others. @returns these, which must begin anew. */
  releaseSource(peer: P): readonly number[] {
    const released: number[] = []
    for (const [piece, source] of this.#soleSources) {
      if (source.peer !== peer || this.#complete.has(piece)) continue
      source.peer = undefined
      source.gaveUp.add(peer)
      this.dropped(piece)
      released.push(piece)
    }
    return released
  }

  peerHas(peer: P, piece: number): void {
    if (this.#peers.get(peer)?.set(piece) === true) this.#countPiece(piece, 1)
  }

  /** It had the piece, and has it no more. */
  peerLost(peer: P, piece: number): void {
    if (this.#peers.get(peer)?.clear(piece) === true) this.#countPiece(piece, -1)
  }

  peerHasAll(peer: P, pieces: Bitfield): void {
    const before = this.#peers.get(peer)
    if (before === undefined) return
    this.#count(before, -1)
    // A copy: what the peer gets later is counted when it is told.
    this.#peers.set(peer, pieces.copy())
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
    this.#wantedBy[piece] = (this.#wantedBy[piece] as number) + 1
    this.#wanted.set(piece)
  }

  /** Takes one `want` back. */
  unwant(piece: number): void {
    const others = (this.#wantedBy[piece] as number) - 1
    this.#wantedBy[piece] = Math.max(0, others)
    if (others <= 0) this.#wanted.clear(piece)
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

  /** The peer could send it, but will not: others are asked, and it only after a while. */
  refused(peer: P, request: BlockRequest, now: number): void {
    const refused = this.#refused.get(peer) ?? new Map<number, number>()
    this.#refused.set(peer, refused.set(request.piece, now + this.#options.hedgeMs))
    this.giveBack(peer, request)
  }

  /** The peer will not send it, or it was cancelled. */
  giveBack(peer: P, { piece, begin }: BlockRequest): void {
    this.#started.get(piece)?.giveBack(begin / BLOCK_LENGTH, peer)
  }

  /** The piece is here (its bit in `verified` is set): nothing more is asked of it. */
  finished(piece: number): void {
    this.#started.delete(piece)
    this.#complete.delete(piece)
    this.#soleSources.delete(piece)
    const index = this.#urgent?.indexOf(piece) ?? -1
    if (index !== -1) this.#urgent?.splice(index, 1)
  }

  /** Its hash was wrong: from the beginning, and all of it from one peer. */
  failed(piece: number): void {
    this.#started.delete(piece)
    this.#complete.delete(piece)
    this.#soleSources.set(piece, { peer: undefined, gaveUp: new Set() })
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
    const has = this.#peers.get(peer)
    if (has === undefined || room <= 0) return []
    const turn: Turn<P> = { peer, has, room, now, pace: this.#options.paceOf(peer), picked: [] }
    const { picked } = turn
    // Who has not shown what it can is tried with little.
    const untried = turn.pace.bytesPerSecond === undefined && this.#peers.size > 1
    if (untried) turn.room = Math.min(room, UNTRIED_BLOCKS - turn.pace.outstanding)
    if (this.#windows.size > 0) {
      this.#pickLate(turn, this.#nextPieces())
      if (picked.length < turn.room) this.#pickUrgent(turn)
    }
    if (picked.length < turn.room) this.#pickStarted(turn)
    while (picked.length < turn.room) {
      const piece = this.#rarest(turn)
      if (piece === -1) break
      if (this.#take(piece, turn) === 0) break
    }
    // End game: nothing of a download is free any more.
    if (picked.length === 0) this.#pickLate(turn, this.#wantedPieces())
    return picked
  }

  /**
   * When the next block that somebody waits for becomes late, so that `pick` may answer more than
   * before. Those that were late before `now` have been looked at.
   */
  nextLateAt(now: number): number {
    let next = Number.POSITIVE_INFINITY
    for (const piece of this.#windows.size > 0 ? this.#nextPieces() : this.#wantedPieces()) {
      next = Math.min(next, this.#started.get(piece)?.nextDueAfter(now - LATE_MS) ?? next)
    }
    return next + LATE_MS
  }

  #pickUrgent(turn: Turn<P>): void {
    const { has, picked, now } = turn
    const swarm = this.#swarmPace
    if (this.#peers.size > 1) swarm.update(this.#peers.keys(), this.#options.paceOf, now)
    let aheadBytes = 0
    for (const [index, piece] of this.#urgentPieces().entries()) {
      if (picked.length >= turn.room) return
      aheadBytes += this.#freeBytes(piece)
      if (!has.has(piece)) continue
      const fits = this.#peers.size === 1 ? turn.room : this.#blocksInTime(turn, aheadBytes, index)
      if (fits >= turn.room - picked.length) this.#take(piece, turn)
      else if (this.#isSource(turn.peer, piece) || !this.#othersSend(turn.peer, piece)) {
        this.#take(piece, turn)
      } else if (fits > 0) {
        // A piece of one source alone is its whole.
        this.#take(piece, turn, this.#soleSources.has(piece) ? undefined : fits)
      }
    }
  }

  /** How many blocks would come from this peer no later than from all together; what is farther off is left for it. */
  #blocksInTime({ pace, picked }: Turn<P>, aheadBytes: number, index: number): number {
    const swarm = this.#swarmPace
    // What is needed first is nothing to try somebody with.
    if (pace.bytesPerSecond === undefined) return swarm.isKnown && index === 0 ? 0 : UNTRIED_BLOCKS
    const ms = swarm.typicalMs + swarm.timeFor(aheadBytes) - pace.roundTripMs
    const blocks = Math.floor((ms / 1000) * (pace.bytesPerSecond / BLOCK_LENGTH))
    return blocks - pace.outstanding - picked.length
  }

  /** Whether another peer that is known to deliver, and not slowly, may send the piece. */
  #othersSend(peer: P, piece: number): boolean {
    for (const [other, has] of this.#peers) {
      if (other === peer || !has.has(piece) || !this.#maySource(piece, other)) continue
      const pace = this.#options.paceOf(other)
      const sends = pace.willing !== false && pace.bytesPerSecond !== undefined
      if (sends && !this.#swarmPace.isSlow(pace)) return true
    }
    return false
  }

  #pickStarted(turn: Turn<P>): void {
    for (const [piece, blocks] of this.#started) {
      if (blocks.freeCount === 0 || !turn.has.has(piece) || !this.#wanted.has(piece)) continue
      this.#take(piece, turn)
      if (turn.picked.length >= turn.room) return
    }
  }

  /** What somebody waits for and others are late with, or the last blocks of all (end game). */
  #pickLate(turn: Turn<P>, pieces: readonly number[]): void {
    const { peer, has, pace, now, picked } = turn
    if (this.#peers.size < 2) return
    for (const piece of pieces) {
      if (picked.length >= turn.room) return
      const blocks = this.#started.get(piece)
      // Free blocks come first, and blocks that are on their way last.
      if (blocks === undefined || blocks.isComplete || blocks.freeCount > 0) continue
      if (!has.has(piece) || this.#soleSources.has(piece)) continue
      if (this.#hasRefused(peer, piece, now)) continue
      if (this.#swarmPace.isSlow(pace) && this.#othersSend(peer, piece)) continue
      this.#hedge(blocks, turn)
    }
  }

  #hedge(blocks: PieceBlocks<P>, { peer, pace, now, room, picked }: Turn<P>): void {
    while (picked.length < room) {
      const dueAt = now + (arrivalMs(pace, picked.length + 1) ?? this.#options.hedgeMs)
      // Late already, or here twice as soon from this peer.
      const block = blocks.hedge(
        peer,
        dueAt,
        now,
        (other) =>
          now > other + LATE_MS || (other - now > LATE_MS && dueAt - now < (other - now) / 2),
      )
      if (block === -1) return
      picked.push(this.#request(blocks.piece, block))
    }
  }

  /** The next pieces of every reader. */
  #nextPieces(): readonly number[] {
    return this.#urgentPieces().slice(0, HEDGED_PIECES * this.#windows.size)
  }

  /** What of a download is under way. */
  #wantedPieces(): readonly number[] {
    // Asked at every turn of every peer; most of the time there are readers and no download.
    if (this.#wanted.count === 0) return []
    return [...this.#started.keys()].filter((piece) => this.#wanted.has(piece))
  }

  /** Takes free blocks of one piece, `atMost` so many, starting it where need be. @returns how many. */
  #take(piece: number, turn: Turn<P>, atMost = Number.POSITIVE_INFINITY): number {
    const { peer, room, now, pace, picked } = turn
    if (this.#complete.has(piece) || !this.#maySource(piece, peer)) return 0
    if (this.#hasRefused(peer, piece, now)) return 0
    let blocks = this.#started.get(piece)
    if (blocks === undefined) {
      if (!this.#options.mayStart(piece)) return 0
      const layout = this.#layout
      blocks = new PieceBlocks(piece, layout.pieceSize(piece), layout.blockCount(piece))
      this.#started.set(piece, blocks)
    }
    let count = 0
    while (picked.length < room && count < atMost) {
      const arrival = arrivalMs(pace, picked.length + 1) ?? this.#options.hedgeMs
      const block = blocks.take(peer, now + arrival)
      if (block === -1) break
      picked.push(this.#request(piece, block))
      count++
    }
    const source = this.#soleSources.get(piece)
    if (count > 0 && source !== undefined) source.peer = peer
    return count
  }

  /** Bytes of a piece that nobody was asked for. */
  #freeBytes(piece: number): number {
    const blocks = this.#started.get(piece)
    return blocks === undefined ? this.#layout.pieceSize(piece) : blocks.freeCount * BLOCK_LENGTH
  }

  #isSource(peer: P, piece: number): boolean {
    return this.#soleSources.get(piece)?.peer === peer
  }

  #maySource(piece: number, peer: P): boolean {
    const source = this.#soleSources.get(piece)
    if (source === undefined || source.peer === peer) return true
    if (source.peer !== undefined) return false
    return !source.gaveUp.has(peer) || source.gaveUp.size >= (this.#availability[piece] as number)
  }

  #hasRefused(peer: P, piece: number, now: number): boolean {
    const refused = this.#refused.get(peer)
    const until = refused?.get(piece)
    if (until === undefined) return false
    if (until > now) return true
    refused?.delete(piece)
    return false
  }

  #request(piece: number, block: number): BlockRequest {
    return { piece, begin: block * BLOCK_LENGTH, length: this.#layout.blockSize(piece, block) }
  }

  /** A wanted piece that nobody has started and fewest peers have, from a random place on; -1 if there is none. */
  #rarest({ peer, has, now }: Turn<P>): number {
    if (this.#wanted.count === 0) return -1
    const { verified } = this.#options
    const count = this.#layout.pieceCount
    const from = Math.floor(this.#options.random() * count)
    let best = -1
    let fewest = Number.POSITIVE_INFINITY
    for (let step = 0; step < count; step++) {
      const piece = from + step < count ? from + step : from + step - count
      if (!this.#wanted.has(piece) || verified.has(piece) || !has.has(piece)) continue
      if (this.#started.has(piece) || this.#hasRefused(peer, piece, now)) continue
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
