import FreeBlocks from 'torrent-piece'

/** A block that two peers are late with is asked of a third, and then of nobody else. */
const ASKED_AT_MOST = 3

/** Which blocks of one started piece are free, asked for, or here; and who was asked, who sent. */
export class PieceBlocks<P> {
  readonly piece: number
  readonly blockCount: number
  readonly #free: FreeBlocks
  /** Blocks that are free, so that a full piece is passed over without a look. */
  #freeCount: number
  #missing: number
  /** Who was asked for a block, in the order of asking. */
  readonly #asked: (P[] | undefined)[]
  /** Who sent it. */
  readonly #senders: (P | undefined)[]
  /** When it should be here (the clock of the caller). */
  readonly #dueAt: Float64Array

  constructor(piece: number, pieceSize: number, blockCount: number) {
    this.piece = piece
    this.blockCount = blockCount
    this.#free = new FreeBlocks(pieceSize)
    this.#freeCount = blockCount
    this.#missing = blockCount
    this.#asked = new Array(blockCount)
    this.#senders = new Array(blockCount)
    this.#dueAt = new Float64Array(blockCount)
  }

  get freeCount(): number {
    return this.#freeCount
  }

  /** Blocks that have not come. */
  get missing(): number {
    return this.#missing
  }

  get isComplete(): boolean {
    return this.#missing === 0
  }

  /** Everybody who was asked or has sent something. */
  get contributors(): Set<P> {
    return new Set(this.#senders.filter((sender) => sender !== undefined))
  }

  senderOf(block: number): P | undefined {
    return this.#senders[block]
  }

  has(block: number): boolean {
    return this.#senders[block] !== undefined
  }

  askedFrom(block: number): readonly P[] {
    return this.#asked[block] ?? []
  }

  /** Takes a free block for `peer`, expected by `dueAt`, or answers -1. */
  take(peer: P, dueAt: number): number {
    if (this.#freeCount === 0) return -1
    const block = this.#free.reserve()
    if (block === -1) return -1
    this.#freeCount--
    this.#asked[block] = [peer]
    this.#dueAt[block] = dueAt
    return block
  }

  /**
   * Asks `peer` too for a block that few others were asked for, expected by `dueAt`, where `isBetter`
   * says of the time at which it is due from them that it pays; -1 where there is none.
   */
  hedge(peer: P, dueAt: number, now: number, isBetter: (otherDueAt: number) => boolean): number {
    for (let block = 0; block < this.blockCount; block++) {
      const asked = this.#asked[block]
      if (asked === undefined || asked.length >= ASKED_AT_MOST || asked.includes(peer)) continue
      const other = this.#dueAt[block] as number
      if (this.has(block) || !isBetter(other)) continue
      asked.push(peer)
      // Late from the others: from now on it is this one that it is expected of.
      this.#dueAt[block] = other < now ? dueAt : Math.min(dueAt, other)
      return block
    }
    return -1
  }

  /** When the next block after `time` is due that more peers may be asked for; Infinity without one. */
  nextDueAfter(time: number): number {
    let next = Number.POSITIVE_INFINITY
    for (let block = 0; block < this.blockCount; block++) {
      const dueAt = this.#dueAt[block] as number
      const asked = this.#asked[block]?.length ?? ASKED_AT_MOST
      if (dueAt > time && asked < ASKED_AT_MOST) next = Math.min(next, dueAt)
    }
    return next
  }

  /** `peer` will not send the block. Free again unless somebody else was asked as well. */
  giveBack(block: number, peer: P): void {
    const asked = this.#asked[block]
    const index = asked?.indexOf(peer) ?? -1
    if (asked === undefined || index === -1) return
    asked.splice(index, 1)
    if (asked.length > 0 || this.has(block)) return
    this.#asked[block] = undefined
    this.#free.cancel(block)
    this.#freeCount++
  }

  /** `peer` is gone: all that it was asked for is given back. */
  removePeer(peer: P): void {
    for (let block = 0; block < this.blockCount; block++) this.giveBack(block, peer)
  }

  /** The block came. @returns the others that were asked for it, or undefined where it was here already. */
  receive(block: number, peer: P): readonly P[] | undefined {
    if (this.has(block)) return undefined
    const asked = this.#asked[block]
    if (asked === undefined) return undefined
    this.#senders[block] = peer
    this.#missing--
    this.#asked[block] = undefined
    return asked.filter((other) => other !== peer)
  }
}
