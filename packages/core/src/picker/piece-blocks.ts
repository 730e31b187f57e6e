import FreeBlocks from 'torrent-piece'

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
  readonly #askedAt: Float64Array

  constructor(piece: number, pieceSize: number, blockCount: number) {
    this.piece = piece
    this.blockCount = blockCount
    this.#free = new FreeBlocks(pieceSize)
    this.#freeCount = blockCount
    this.#missing = blockCount
    this.#asked = new Array(blockCount)
    this.#senders = new Array(blockCount)
    this.#askedAt = new Float64Array(blockCount)
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

  /** Takes a free block for `peer`, or answers -1. */
  take(peer: P, now: number): number {
    if (this.#freeCount === 0) return -1
    const block = this.#free.reserve()
    if (block === -1) return -1
    this.#freeCount--
    this.#asked[block] = [peer]
    this.#askedAt[block] = now
    return block
  }

  /** Asks `peer` too for a block that others were asked for before `askedBefore`; -1 where there is none. */
  hedge(peer: P, askedBefore: number, now: number): number {
    for (let block = 0; block < this.blockCount; block++) {
      const asked = this.#asked[block]
      if (asked === undefined || this.has(block) || asked.length !== 1) continue
      if (asked.includes(peer) || (this.#askedAt[block] as number) > askedBefore) continue
      asked.push(peer)
      this.#askedAt[block] = now
      return block
    }
    return -1
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
