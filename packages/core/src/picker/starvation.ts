import { BLOCK_LENGTH } from '../metainfo/layout.ts'
import type { SimulatedConnection } from './simulated-connection.ts'
import type { SimulatedTransfer } from './simulated-transfer.ts'

/** How fast peers really are, whatever is known of them. */
export interface TrueRate {
  readonly bytesPerSecond: number
  readonly roundTripMs: number
}

/** What of a transfer is looked at. */
export type WatchedTransfer = Pick<
  SimulatedTransfer,
  'layout' | 'verified' | 'picker' | 'connections' | 'isPoisoned' | 'isSuspect'
>

interface FreeRun {
  readonly piece: number
  /** Bytes that nobody was asked for, of all pieces that are needed before it and of itself. */
  readonly bytes: number
}

/** A peer is expected to deliver in time when it takes this much less than the others do; estimates are rough. */
const MARGIN = 1.5
const MARGIN_MS = 50

/**
 * Looks from time to time for peers that are asked for nothing although they could deliver something
 * before the others get to it.
 */
export class StarvationWatch {
  readonly #transfer: WatchedTransfer
  readonly #rateOf: (connection: SimulatedConnection) => TrueRate | undefined
  readonly #starving = new Map<SimulatedConnection, number>()

  /** `rateOf` answers undefined for peers that nothing comes of. */
  constructor(
    transfer: WatchedTransfer,
    rateOf: (connection: SimulatedConnection) => TrueRate | undefined,
  ) {
    this.#transfer = transfer
    this.#rateOf = rateOf
  }

  /** `ms` have passed since it looked last. */
  look(ms: number): void {
    const idle = [...this.#transfer.connections].filter((it) => it.isIdle && !it.snubbed)
    const free = idle.length === 0 ? [] : this.#freeRuns()
    const together = this.#bytesPerSecond()
    const starving = new Set(idle.filter((it) => this.#isStarving(it, free, together)))
    for (const connection of this.#starving.keys()) {
      if (!starving.has(connection)) this.#starving.delete(connection)
    }
    for (const connection of starving) {
      const { report } = connection
      const since = (this.#starving.get(connection) ?? 0) + ms
      this.#starving.set(connection, since)
      report.starvedMs += ms
      report.longestStarvedMs = Math.max(report.longestStarvedMs, since)
    }
  }

  #isStarving(
    connection: SimulatedConnection,
    free: readonly FreeRun[],
    together: number,
  ): boolean {
    const rate = this.#rateOf(connection)
    if (rate === undefined) return false
    const { bytesPerSecond, roundTripMs } = rate
    const ownMs = roundTripMs + (BLOCK_LENGTH / bytesPerSecond) * 1000
    const others = Math.max(1, together - bytesPerSecond)
    return free.some(({ piece, bytes }) => {
      const othersMs = (bytes / others) * 1000
      return othersMs > MARGIN * ownMs + MARGIN_MS && connection.pieces?.has(piece) === true
    })
  }

  #bytesPerSecond(): number {
    let sum = 0
    for (const connection of this.#transfer.connections) {
      if (!connection.choking) sum += this.#rateOf(connection)?.bytesPerSecond ?? 0
    }
    return sum
  }

  /** Pieces with free blocks, in the order in which they are needed. */
  #freeRuns(): FreeRun[] {
    const { picker, layout } = this.#transfer
    const order = new Set(picker.urgent(layout.pieceCount))
    for (let piece = 0; piece < layout.pieceCount; piece++) {
      if (picker.isWanted(piece)) order.add(piece)
    }
    const runs: FreeRun[] = []
    let bytes = 0
    for (const piece of order) {
      const free = this.#freeBytes(piece)
      bytes += free
      if (free > 0) runs.push({ piece, bytes })
    }
    return runs
  }

  #freeBytes(piece: number): number {
    const { picker, layout, verified } = this.#transfer
    if (verified.has(piece) || this.#transfer.isPoisoned(piece)) return 0
    // All of a piece that failed is asked of one peer.
    if (this.#transfer.isSuspect(piece)) return 0
    const blocks = picker.blocksOf(piece)
    return blocks === undefined ? layout.pieceSize(piece) : blocks.freeCount * BLOCK_LENGTH
  }
}
