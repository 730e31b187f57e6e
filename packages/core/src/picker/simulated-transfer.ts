import type { Limits } from '../limits.ts'
import { Bitfield } from '../metainfo/bitfield.ts'
import { BLOCK_LENGTH, type Layout } from '../metainfo/layout.ts'
import type { BlockRequest } from '../wire/data-plane.ts'
import { Picker, type PieceWindow } from './picker.ts'
import type { PieceBlocks } from './piece-blocks.ts'
import type { RequestLedger } from './request-ledger.ts'
import type { ConnectionHandler, SimulatedConnection } from './simulated-connection.ts'
import type { SimulatedBudget, SimulatedSuspects } from './swarm-parts.ts'
import type { AskedTwiceReason } from './swarm-report.ts'
import type { ScheduledEvent, VirtualClock } from './virtual-clock.ts'

export interface SimulatedTransferHandler {
  onVerified(piece: number): void
  /** It cannot be had from this swarm. */
  onLost(piece: number): void
  onLiar(connection: SimulatedConnection): void
  /** Whether somebody else may still connect. */
  expectsPeers(): boolean
}

export interface SimulatedTransferOptions {
  readonly layout: Layout
  readonly limits: Limits
  readonly clock: VirtualClock
  readonly verifyMs: number
  readonly budget: SimulatedBudget
  readonly suspects: SimulatedSuspects<SimulatedConnection>
  readonly ledger: RequestLedger<SimulatedConnection>
  readonly random: () => number
  readonly handler: SimulatedTransferHandler
}

const LATE_AT_LEAST_MS = 10

/**
 * Drives the picker as the swarm's transfer does, in the same order, with bytes that are only counted:
 * all zeros where they are right.
 */
export class SimulatedTransfer implements ConnectionHandler {
  readonly layout: Layout
  readonly verified: Bitfield
  readonly connections = new Set<SimulatedConnection>()
  readonly picker: Picker<SimulatedConnection>
  failedPieces = 0
  failedBytes = 0
  readonly #options: SimulatedTransferOptions
  readonly #budgeted = new Set<number>()
  readonly #poisoned = new Set<number>()
  /** Wrong blocks of started pieces: what their first byte is. */
  readonly #wrong = new Map<number, Map<number, number>>()
  readonly #liars: object[] = []
  readonly #fillLater = () => this.fillAll()
  #filling = false
  #fillAgain = false
  #late: ScheduledEvent | undefined

  constructor(options: SimulatedTransferOptions) {
    this.#options = options
    this.layout = options.layout
    this.verified = new Bitfield(options.layout.pieceCount)
    this.picker = new Picker({
      layout: options.layout,
      verified: this.verified,
      mayStart: (piece) => this.#mayStart(piece),
      paceOf: (connection) => connection.pace,
      hedgeMs: options.limits.hedgeMs,
      random: options.random,
    })
    options.budget.join(() => this.#reclaimAbandoned())
  }

  isPoisoned(piece: number): boolean {
    return this.#poisoned.has(piece)
  }

  /** Failed before and not right since: one peer alone may have it. */
  isSuspect(piece: number): boolean {
    return this.#options.suspects.isSuspect(piece)
  }

  setWindow(reader: object, window: PieceWindow): void {
    const before = this.picker.windowOf(reader)
    if (before?.start === window.start && before.end === window.end) return
    this.picker.setWindow(reader, window)
    if (before !== undefined) this.#cancelUnwanted(before)
    this.#wantsChanged()
  }

  removeWindow(reader: object): void {
    const before = this.picker.windowOf(reader)
    if (before === undefined) return
    this.picker.removeWindow(reader)
    this.#cancelUnwanted(before)
  }

  want(pieces: PieceWindow): void {
    for (let piece = pieces.start; piece < pieces.end; piece++) this.picker.want(piece)
    this.#wantsChanged()
  }

  add(connection: SimulatedConnection): void {
    this.connections.add(connection)
    this.picker.addPeer(connection)
    this.#poisoned.clear()
  }

  remove(connection: SimulatedConnection): void {
    if (!this.connections.delete(connection)) return
    connection.close()
    for (const piece of this.picker.removePeer(connection)) this.#drop(piece, 'left')
    this.fillAll()
  }

  /** Nothing came of what it was asked for: others get it. */
  takeBack(connection: SimulatedConnection): void {
    for (const block of connection.requests()) {
      connection.cancel(block, 'snubbed')
      this.picker.giveBack(connection, block)
    }
    for (const piece of this.picker.releaseSource(connection)) this.#drop(piece, 'snubbed')
    this.fillAll()
  }

  fill(connection: SimulatedConnection): void {
    this.#fillEach([connection])
  }

  fillAll(): void {
    this.#fillEach(this.connections)
  }

  // What connections tell

  onPieces(connection: SimulatedConnection, piece: number | undefined): void {
    if (connection.pieces === undefined) return
    if (piece === undefined) this.picker.peerHasAll(connection, connection.pieces)
    else this.picker.peerHas(connection, piece)
    this.#updateInterest(connection)
    this.fill(connection)
  }

  onBlock(connection: SimulatedConnection, block: BlockRequest, isWrong: boolean): void {
    const { piece, begin } = block
    const index = begin / BLOCK_LENGTH
    const blocks = this.picker.blocksOf(piece)
    if (blocks === undefined || blocks.has(index)) {
      connection.wasted(block)
      return this.picker.giveBack(connection, block)
    }
    const outcome = this.picker.received(connection, block)
    if (outcome === undefined) {
      connection.wasted(block)
      return
    }
    this.#options.ledger.received(piece, begin)
    if (isWrong) this.#spoil(piece, index, connection.report)
    for (const other of outcome.cancel) other.cancel(block, 'unwanted')
    if (outcome.complete) this.#complete(piece)
  }

  onReject(connection: SimulatedConnection, block: BlockRequest): void {
    if (connection.choking) this.picker.giveBack(connection, block)
    else this.picker.refused(connection, block, this.#options.clock.now)
  }

  onTurn(connection: SimulatedConnection): void {
    this.fill(connection)
  }

  #fillEach(connections: Iterable<SimulatedConnection>): void {
    if (this.#filling) {
      this.#fillAgain = true
      return
    }
    this.#filling = true
    for (const connection of connections) this.#fill(connection)
    this.#filling = false
    if (!this.#fillAgain) return
    this.#fillAgain = false
    this.fillAll()
  }

  #fill(connection: SimulatedConnection): void {
    if (connection.pieces === undefined) return
    const { room } = connection
    if (room <= 0) return
    const { now } = this.#options.clock
    const picked = this.picker.pick(connection, room, now)
    for (const block of picked) connection.request(block, now)
    connection.flush()
    if (picked.length < room && this.connections.size > 1) this.#fillWhenLate(now)
  }

  #fillWhenLate(now: number): void {
    if (this.#late !== undefined) return
    const at = this.picker.nextLateAt(now)
    if (at === Number.POSITIVE_INFINITY) return
    this.#late = this.#options.clock.at(Math.max(now + LATE_AT_LEAST_MS, at), () => {
      this.#late = undefined
      this.fillAll()
    })
  }

  #mayStart(piece: number): boolean {
    if (this.#poisoned.has(piece)) return false
    if (this.#budgeted.has(piece)) return true
    if (!this.#options.budget.take(this.layout.pieceSize(piece), this.#fillLater)) return false
    this.#budgeted.add(piece)
    return true
  }

  /** Every liar has wrong bytes of its own. */
  #spoil(piece: number, block: number, liar: object): void {
    if (!this.#liars.includes(liar)) this.#liars.push(liar)
    const wrong = this.#wrong.get(piece) ?? new Map<number, number>()
    wrong.set(block, (this.#liars.indexOf(liar) % 255) + 1)
    this.#wrong.set(piece, wrong)
  }

  #complete(piece: number): void {
    const blocks = this.picker.blocksOf(piece)
    const wrong = this.#wrong.get(piece)
    this.#wrong.delete(piece)
    this.#options.clock.after(this.#options.verifyMs, () => {
      if (wrong === undefined) this.#verified(piece)
      else this.#failed(piece, blocks, wrong)
      this.#giveBudget(piece)
      if (!this.picker.isWanted(piece)) this.fillAll()
    })
  }

  #verified(piece: number): void {
    const { suspects, handler } = this.#options
    this.verified.set(piece)
    this.picker.finished(piece)
    handler.onVerified(piece)
    if (!suspects.isSuspect(piece)) return
    const right = new Uint8Array(this.layout.pieceSize(piece))
    for (const liar of suspects.resolved(piece, right)) handler.onLiar(liar)
  }

  #failed(
    piece: number,
    blocks: PieceBlocks<SimulatedConnection> | undefined,
    wrong: ReadonlyMap<number, number>,
  ): void {
    const { suspects, handler, limits, ledger } = this.#options
    const bytes = new Uint8Array(this.layout.pieceSize(piece))
    for (const [block, byte] of wrong) bytes[block * BLOCK_LENGTH] = byte
    const liar = blocks && suspects.failed(blocks, bytes)
    this.failedPieces++
    this.failedBytes += bytes.length
    this.picker.failed(piece)
    ledger.reset(piece, 'failed')
    if (liar !== undefined) handler.onLiar(liar)
    const nobodyLeft = this.connections.size === 0 && !handler.expectsPeers()
    const hopeless = liar !== undefined && nobodyLeft ? suspects.pieces : []
    const poisoned = suspects.failures(piece) >= limits.pieceFailures ? [piece] : hopeless
    for (const one of poisoned) {
      this.#poisoned.add(one)
      handler.onLost(one)
    }
    this.fillAll()
  }

  #wantsChanged(): void {
    for (const connection of this.connections) this.#updateInterest(connection)
    this.fillAll()
  }

  #updateInterest(connection: SimulatedConnection): void {
    if (connection.pieces === undefined || connection.interested) return
    if (this.picker.isInteresting(connection)) connection.interest()
  }

  #cancelUnwanted(before: PieceWindow): void {
    const unwanted = new Set<number>()
    for (let piece = before.start; piece < before.end; piece++) {
      if (this.verified.has(piece) || this.picker.isWanted(piece)) continue
      if (this.picker.blocksOf(piece) !== undefined) unwanted.add(piece)
    }
    if (unwanted.size === 0) return
    for (const connection of this.connections) {
      for (const block of connection.requests()) {
        if (!unwanted.has(block.piece)) continue
        connection.cancel(block, 'unwanted')
        this.picker.giveBack(connection, block)
      }
    }
    this.fillAll()
  }

  #reclaimAbandoned(): void {
    for (const piece of this.picker.startedPieces) {
      if (this.picker.isWanted(piece)) continue
      if (this.picker.blocksOf(piece)?.isComplete === false) this.#drop(piece, 'unwanted')
    }
  }

  #drop(piece: number, why: AskedTwiceReason): void {
    for (const connection of this.connections) {
      for (const block of connection.requests()) {
        if (block.piece === piece) connection.cancel(block, why)
      }
    }
    this.#wrong.delete(piece)
    this.#options.ledger.reset(piece, why)
    this.picker.dropped(piece)
    this.#giveBudget(piece)
  }

  #giveBudget(piece: number): void {
    if (!this.#budgeted.delete(piece)) return
    this.#options.budget.give(this.layout.pieceSize(piece))
  }
}
