import type { Limits } from '../limits.ts'
import type { Bitfield } from '../metainfo/bitfield.ts'
import type { BlockRequest } from '../wire/data-plane.ts'
import { arrivalMs, type Pace, PeerPace } from './peer-pace.ts'
import type { RequestLedger } from './request-ledger.ts'
import { RequestWindow } from './request-window.ts'
import type { RemoteHandler, SimulatedRemote } from './simulated-remote.ts'
import type { AskedTwiceReason, PeerReport } from './swarm-report.ts'
import type { VirtualClock } from './virtual-clock.ts'

/** The swarm around our end of a connection. */
export interface ConnectionHandler {
  onPieces(connection: SimulatedConnection, piece: number | undefined): void
  onBlock(connection: SimulatedConnection, block: BlockRequest, isWrong: boolean): void
  onReject(connection: SimulatedConnection, block: BlockRequest): void
  /** All that a message brought was handled. */
  onTurn(connection: SimulatedConnection): void
}

export interface SimulatedConnectionOptions {
  readonly clock: VirtualClock
  readonly limits: Limits
  readonly requestQueue: number
  readonly fast: boolean
  readonly ledger: RequestLedger<SimulatedConnection>
  readonly report: PeerReport
  readonly handler: ConnectionHandler
}

interface Outstanding extends BlockRequest {
  readonly sentAt: number
}

/**
 * Our end of one connection: does with {@link RequestWindow} and {@link PeerPace} what the swarm's peer
 * does, and keeps the same books as its data plane.
 */
export class SimulatedConnection implements RemoteHandler {
  readonly window: RequestWindow
  readonly report: PeerReport
  pieces: Bitfield | undefined
  choking = true
  interested = false
  snubbed = false
  closed = false
  readonly #options: SimulatedConnectionOptions
  readonly #pace = new PeerPace()
  /** By piece and begin, in the order of asking. */
  readonly #asked = new Map<string, Outstanding>()
  #remote: SimulatedRemote | undefined
  #unsent: BlockRequest[] = []
  #idleSince: number | undefined

  constructor(options: SimulatedConnectionOptions) {
    this.#options = options
    this.report = options.report
    this.report.connections++
    this.window = new RequestWindow({ atMost: options.limits.peerRequests })
    this.window.limit(Math.min(options.limits.peerRequests, options.requestQueue))
  }

  attach(remote: SimulatedRemote): void {
    this.#remote = remote
  }

  /** Blocks that may be asked for now. */
  get room(): number {
    const outstanding = this.#asked.size
    if (this.closed || this.choking) return 0
    if (this.snubbed) return 1 - outstanding
    const { size } = this.window
    return size - outstanding >= size >> 3 ? size - outstanding : 0
  }

  get pace(): Pace {
    return {
      bytesPerSecond: this.#pace.bytesPerSecond,
      roundTripMs: this.window.roundTripMs ?? 0,
      outstanding: this.#asked.size,
      willing: !this.snubbed && !this.choking,
    }
  }

  silentMs(now: number): number {
    return this.#pace.silentMs(now)
  }

  get outstanding(): number {
    return this.#asked.size
  }

  get isIdle(): boolean {
    return this.#idleSince !== undefined
  }

  get oldestRequestAt(): number | undefined {
    for (const request of this.#asked.values()) return request.sentAt
    return undefined
  }

  requests(): BlockRequest[] {
    return [...this.#asked.values()]
  }

  interest(): void {
    this.interested = true
    this.report.interestChanges++
    this.#remote?.interested()
  }

  request(block: BlockRequest, now: number): void {
    const { ledger, limits } = this.#options
    const { piece, begin, length } = block
    const expectedMs = arrivalMs(this.pace) ?? limits.hedgeMs
    ledger.asked({ piece, begin, peer: this, now, arrivalMs: expectedMs })
    this.#pace.asked(now, this.#asked.size === 0)
    this.#asked.set(keyOf(block), { piece, begin, length, sentAt: now })
    this.#unsent.push(block)
    this.report.asked++
    this.#noteIdle()
  }

  /** What was asked for goes out in one go. */
  flush(): void {
    const blocks = this.#unsent
    if (blocks.length === 0) return
    this.#unsent = []
    this.#remote?.request(blocks)
  }

  cancel(block: BlockRequest, why: AskedTwiceReason): void {
    if (!this.#asked.delete(keyOf(block))) return
    this.flush()
    this.report.cancels++
    this.#options.ledger.freed(block.piece, block.begin, this, why)
    this.#remote?.cancel(block)
    this.#noteIdle()
  }

  close(): void {
    this.closed = true
    this.#remote?.close()
    for (const { piece, begin } of this.#asked.values()) {
      this.#options.ledger.freed(piece, begin, this, 'left')
    }
    this.#asked.clear()
    this.#noteIdle()
  }

  /** A block came that nobody waited for. */
  wasted({ length }: BlockRequest): void {
    this.report.duplicates++
    this.report.duplicateBytes += length
  }

  /** Ends what the report counts: the run is over. */
  settle(): void {
    if (this.#idleSince !== undefined)
      this.report.idleMs += this.#options.clock.now - this.#idleSince
    this.#idleSince = undefined
  }

  // What the other end sends

  onBitfield(pieces: Bitfield): void {
    this.pieces = pieces
    this.#options.handler.onPieces(this, undefined)
    this.#turn()
  }

  onHave(piece: number): void {
    if (this.pieces?.set(piece) === true) this.#options.handler.onPieces(this, piece)
    this.#turn()
  }

  onChoke(): void {
    this.choking = true
    // BEP 6: with the fast extension every request gets its own answer.
    if (!this.#options.fast) {
      const dropped = this.requests()
      this.#asked.clear()
      for (const block of dropped) this.#rejected(block)
    }
    this.#turn()
  }

  onUnchoke(): void {
    this.choking = false
    this.#turn()
  }

  onBlock(block: BlockRequest, isWrong: boolean): void {
    const { clock, handler } = this.#options
    const asked = this.#asked.get(keyOf(block))
    this.report.delivered++
    if (asked === undefined) {
      this.wasted(block)
      return this.#turn()
    }
    this.#asked.delete(keyOf(block))
    this.snubbed = false
    this.window.answered(clock.now - asked.sentAt, clock.now)
    this.#pace.answered(block.length, clock.now)
    handler.onBlock(this, block, isWrong)
    this.#turn()
  }

  onReject(block: BlockRequest): void {
    if (this.#asked.delete(keyOf(block))) this.#rejected(block)
    this.#turn()
  }

  #rejected(block: BlockRequest): void {
    this.report.rejects++
    const why = this.choking ? 'choked' : 'refused'
    this.#options.ledger.freed(block.piece, block.begin, this, why)
    this.#options.handler.onReject(this, block)
  }

  #turn(): void {
    if (!this.closed) this.#options.handler.onTurn(this)
    this.#noteIdle()
  }

  #noteIdle(): void {
    const { now } = this.#options.clock
    const isIdle = !this.closed && !this.choking && this.#asked.size === 0
    if (isIdle) {
      this.#idleSince ??= now
      return
    }
    this.settle()
  }
}

function keyOf({ piece, begin }: BlockRequest): string {
  return `${piece}:${begin}`
}
