import type { Bitfield } from '../metainfo/bitfield.ts'
import type { BlockRequest } from '../wire/data-plane.ts'
import { peerDefaults, type SimulatedPeerOptions } from './swarm-scenario.ts'
import type { VirtualClock } from './virtual-clock.ts'

/** What comes of the other end of a connection. */
export interface RemoteHandler {
  onBitfield(pieces: Bitfield): void
  onHave(piece: number): void
  onChoke(): void
  onUnchoke(): void
  onBlock(block: BlockRequest, isWrong: boolean): void
  onReject(block: BlockRequest): void
}

export interface SimulatedRemoteOptions {
  readonly options: SimulatedPeerOptions
  /** What it has. Not a copy: it gets more. */
  readonly pieces: Bitfield
  readonly clock: VirtualClock
  readonly random: () => number
  readonly handler: RemoteHandler
}

/** Messages one way: each takes its time, none overtakes another. */
class OneWay {
  readonly #clock: VirtualClock
  readonly #delayMs: () => number
  #lastAt = 0
  #closed = false

  constructor(clock: VirtualClock, delayMs: () => number) {
    this.#clock = clock
    this.#delayMs = delayMs
  }

  /** `run` happens at the other end. */
  send(run: () => void): void {
    this.#lastAt = Math.max(this.#lastAt, this.#clock.now + this.#delayMs())
    this.#clock.at(this.#lastAt, () => {
      if (!this.#closed) run()
    })
  }

  close(): void {
    this.#closed = true
  }
}

/** The other end of one connection and the line to it: what a real peer would do with what we send. */
export class SimulatedRemote {
  readonly #pieces: Bitfield
  readonly #options: SimulatedPeerOptions
  readonly #clock: VirtualClock
  readonly #random: () => number
  readonly #handler: RemoteHandler
  readonly #toIt: OneWay
  readonly #toUs: OneWay
  #queue: BlockRequest[] = []
  /** Bytes that nothing takes back any more. */
  #sendingBytes = 0
  #lineFreeAt = 0
  #choking = true
  #closed = false

  constructor({ options, pieces, clock, random, handler }: SimulatedRemoteOptions) {
    this.#options = options
    this.#pieces = pieces
    this.#clock = clock
    this.#random = random
    this.#handler = handler
    const { roundTripMs = peerDefaults.roundTripMs, jitterMs = 0 } = options
    const delayMs = () => roundTripMs / 2 + (jitterMs === 0 ? 0 : jitterMs * random())
    this.#toIt = new OneWay(clock, delayMs)
    this.#toUs = new OneWay(clock, delayMs)
    this.#toUs.send(() => handler.onBitfield(pieces.copy()))
  }

  interested(): void {
    this.#toIt.send(() => this.#later(this.#options.unchokesAfterMs ?? 0, () => this.#unchoke()))
  }

  request(blocks: readonly BlockRequest[]): void {
    this.#toIt.send(() => {
      for (const block of blocks) this.#onRequest(block)
      this.#sendMore()
    })
  }

  cancel({ piece, begin }: BlockRequest): void {
    this.#toIt.send(() => {
      const index = this.#queue.findIndex((it) => it.piece === piece && it.begin === begin)
      if (index !== -1) this.#queue.splice(index, 1)
    })
  }

  /** It got a piece. */
  have(piece: number): void {
    this.#toUs.send(() => this.#handler.onHave(piece))
  }

  close(): void {
    this.#closed = true
    this.#toIt.close()
    this.#toUs.close()
  }

  #onRequest(block: BlockRequest): void {
    const { conduct, lossShare = 0, requestQueue = peerDefaults.requestQueue } = this.#options
    if (conduct === 'hangs') return
    const isFull = this.#queue.length >= requestQueue
    if (this.#choking || isFull || conduct === 'refuses' || !this.#pieces.has(block.piece)) {
      return this.#reject(block)
    }
    if (lossShare === 0 || this.#random() >= lossShare) this.#queue.push(block)
  }

  #reject(block: BlockRequest): void {
    if (this.#options.fast ?? peerDefaults.fast)
      this.#toUs.send(() => this.#handler.onReject(block))
  }

  #sendMore(): void {
    const {
      bytesPerSecond = peerDefaults.bytesPerSecond,
      sendBufferBytes = peerDefaults.sendBufferBytes,
    } = this.#options
    while (this.#queue.length > 0 && (this.#sendingBytes === 0 || this.#fits(sendBufferBytes))) {
      const block = this.#queue.shift() as BlockRequest
      this.#sendingBytes += block.length
      const from = Math.max(this.#lineFreeAt, this.#clock.now)
      this.#lineFreeAt = from + (block.length / bytesPerSecond) * 1000
      this.#clock.at(this.#lineFreeAt, () => this.#sent(block))
    }
  }

  #fits(sendBufferBytes: number): boolean {
    return this.#sendingBytes + (this.#queue[0]?.length ?? 0) <= sendBufferBytes
  }

  #sent(block: BlockRequest): void {
    if (this.#closed) return
    this.#sendingBytes -= block.length
    const { conduct, lieShare = 1 } = this.#options
    const isWrong = conduct === 'lies' && this.#random() < lieShare
    this.#toUs.send(() => this.#handler.onBlock(block, isWrong))
    this.#sendMore()
  }

  #unchoke(): void {
    this.#choking = false
    this.#toUs.send(() => this.#handler.onUnchoke())
    const { unchokedMs } = this.#options
    if (unchokedMs !== undefined) this.#later(this.#about(unchokedMs), () => this.#choke())
  }

  #choke(): void {
    this.#choking = true
    this.#toUs.send(() => this.#handler.onChoke())
    for (const block of this.#queue.splice(0)) this.#reject(block)
    this.#later(this.#about(this.#options.chokedMs ?? peerDefaults.chokedMs), () => this.#unchoke())
  }

  #about(ms: number): number {
    return ms * (0.5 + this.#random())
  }

  #later(ms: number, run: () => void): void {
    this.#clock.after(ms, () => {
      if (!this.#closed) run()
    })
  }
}
