import type { Socket } from 'node:net'
import type { PeerAddress } from '../discovery/discovery.ts'
import { IsthmusError } from '../errors.ts'
import type { Limits } from '../limits.ts'
import { Bitfield } from '../metainfo/bitfield.ts'
import { BLOCK_LENGTH } from '../metainfo/layout.ts'
import { type Pace, PeerPace } from '../picker/peer-pace.ts'
import { RequestWindow } from '../picker/request-window.ts'
import type { BlockRequest } from '../wire/data-plane.ts'
import type { ExtendedHandshake } from '../wire/extended-handshake.ts'
import { type BlockSink, protocolError } from '../wire/frames.ts'
import { type Handshake, supportsDht } from '../wire/handshake.ts'
import { Wire, type WireHandler, type WireObfuscation } from '../wire/wire.ts'
import { RateMeter } from './rate-meter.ts'
import type { PeerRates } from './rates.ts'

/** The swarm around a peer: told of everything that the peer does not settle itself. */
export interface PeerHandler {
  /** Handshakes are through and nothing else was said yet. */
  onOpen(peer: Peer): void
  onExtendedHandshake(peer: Peer, handshake: ExtendedHandshake): void
  /** Pieces that the peer has changed: one, or all. */
  onPieces(peer: Peer, piece: number | undefined): void
  onChoke(peer: Peer): void
  onUnchoke(peer: Peer): void
  onInterest(peer: Peer): void
  onDhtPort(peer: Peer, port: number): void
  onBlockStart(peer: Peer, block: BlockRequest): BlockSink | undefined
  onBlock(peer: Peer, block: BlockRequest): void
  onReject(peer: Peer, block: BlockRequest): void
  onTurn(peer: Peer): void
  onExtension(peer: Peer, name: string, payload: Uint8Array): void
  onClose(peer: Peer, error: IsthmusError | undefined): void
}

export interface PeerOptions {
  readonly socket: Socket
  readonly address: PeerAddress
  readonly incoming: boolean
  readonly limits: Limits
  /** The layer under the connection, where there is one. */
  readonly obfuscation?: WireObfuscation | undefined
  /** Finds the swarm that a handshake belongs to, and answers it; undefined closes the connection. */
  readonly route: (peer: Peer, handshake: Handshake) => PeerHandler | undefined
  /** Called instead of the handler's `onClose` where no swarm took the connection. */
  readonly onLost: (peer: Peer) => void
}

/** Extensions of BEP 10 that we speak. */
export const EXTENSIONS: readonly string[] = ['ut_metadata', 'ut_pex', 'lt_donthave', 'upload_only']

/** One connected peer of a torrent, and what is known of it. */
export class Peer implements WireHandler {
  readonly wire: Wire
  readonly address: PeerAddress
  readonly incoming: boolean
  readonly window: RequestWindow
  readonly downloadRate = new RateMeter()
  readonly uploadRate = new RateMeter()
  /** Its share of what may pass; undefined until it belongs to a torrent. */
  rates: PeerRates | undefined
  /** What the peer has; undefined until the number of pieces is known. */
  pieces: Bitfield | undefined
  handshake: Handshake | undefined
  /** Somebody listens there, whatever it speaks. */
  reached = false
  extended: ExtendedHandshake | undefined
  /** Where the block that is arriving now goes. */
  sink: (BlockSink & { block: BlockRequest; scratch: boolean }) | undefined
  /** It has not answered for long: asked for one block at a time until it does. */
  snubbed = false
  /** It wants nothing of anybody (BEP 21). */
  uploadOnly = false
  /** When a block last came, or, before the first one, when the connection opened (`performance.now()`). */
  lastBlockAt = performance.now()
  readonly openedAt = performance.now()
  /** When it last choked us. */
  #chokedAt = 0
  readonly #options: PeerOptions
  readonly #pace = new PeerPace()
  #handler: PeerHandler | undefined
  #timer: NodeJS.Timeout | undefined
  /** What was said about pieces while their number was unknown. */
  #early:
    | { all: boolean; bits: Uint8Array | undefined; haves: Set<number>; lost: Set<number> }
    | undefined

  constructor(options: PeerOptions) {
    const { socket, address, incoming, limits } = options
    this.#options = options
    this.address = address
    this.incoming = incoming
    this.window = new RequestWindow({ atMost: limits.peerRequests })
    this.wire = new Wire(socket, {
      handler: this,
      limits,
      extensions: EXTENSIONS,
      obfuscation: options.obfuscation,
    })
    socket.once('connect', () => {
      this.reached = true
    })
    this.#timer = setTimeout(() => this.#tooSlow(), limits.handshakeMs)
    this.#timer.unref()
  }

  /** Our end of the connection, as the machine calls it. */
  get localHost(): string | undefined {
    const { localAddress } = this.#options.socket
    return localAddress?.startsWith('::ffff:') ? localAddress.slice(7) : localAddress
  }

  get peerId(): Uint8Array | undefined {
    return this.handshake?.peerId
  }

  /** Where it can be dialed, as far as we know. */
  get listenAddress(): PeerAddress | undefined {
    if (!this.incoming) return this.address
    const port = this.extended?.port
    return port === undefined ? undefined : { host: this.address.host, port }
  }

  /** It takes part in the DHT (BEP 5). */
  get speaksDht(): boolean {
    return this.handshake !== undefined && supportsDht(this.handshake)
  }

  /** The peer has everything. */
  get isSeed(): boolean {
    return this.pieces?.isFull === true
  }

  /** Since when it has sent nothing of what we wait for; undefined where we wait for nothing. */
  get silentSince(): number | undefined {
    const { control, data } = this.wire
    const { oldestRequestAt } = data
    if (oldestRequestAt !== undefined) return Math.max(this.lastBlockAt, oldestRequestAt)
    if (!control.amInterested || !control.peerChoking) return undefined
    return Math.max(this.lastBlockAt, this.#chokedAt)
  }

  /** Blocks that may be asked for now. */
  get room(): number {
    const room = this.#windowRoom
    const limit = this.rates?.download
    if (room <= 0 || !limit?.isLimited) return room
    return Math.min(room, Math.ceil(limit.allowance() / BLOCK_LENGTH))
  }

  /** The metadata is known: what the peer said about pieces counts from now on. */
  setShape(pieceCount: number): void {
    const early = this.#early
    this.#early = undefined
    const pieces = early?.all
      ? Bitfield.full(pieceCount)
      : early?.bits
        ? Bitfield.from(early.bits, pieceCount)
        : new Bitfield(pieceCount)
    if (pieces === undefined) return this.wire.close(badBitfield())
    for (const piece of early?.haves ?? []) pieces.set(piece)
    for (const piece of early?.lost ?? []) pieces.clear(piece)
    this.pieces = pieces
    if (early !== undefined) this.#handler?.onPieces(this, undefined)
  }

  /** It has this piece no more (BEP 54). @returns whether it had it, as far as we knew. */
  lost(piece: number): boolean {
    if (this.pieces !== undefined) {
      if (piece >= this.pieces.length) throw protocolError('a piece out of range')
      return this.pieces.clear(piece)
    }
    const { haves, lost } = this.#earlyPieces()
    haves.delete(piece)
    if (piece < this.#options.limits.pieces && lost.size < EARLY_HAVES) lost.add(piece)
    return false
  }

  /** How fast it is. */
  get pace(): Pace {
    return {
      bytesPerSecond: this.#pace.bytesPerSecond,
      roundTripMs: this.window.roundTripMs ?? 0,
      outstanding: this.wire.data.outstanding,
      willing: !this.snubbed && !this.wire.control.peerChoking,
    }
  }

  /** How long it has sent nothing although it was asked, in ms. */
  silentMs(now: number): number {
    return this.#pace.silentMs(now)
  }

  request(block: BlockRequest, now: number): void {
    this.rates?.download.spend(block.length)
    this.#pace.asked(now, this.wire.data.outstanding === 0)
    this.wire.data.request(block, now)
  }

  /** Takes a request back, also one that is being answered at this moment. */
  cancel(block: BlockRequest): void {
    const { outstanding } = this.wire.data
    this.wire.data.cancel(block)
    if (this.wire.data.outstanding < outstanding) this.rates?.download.refund(block.length)
    const { sink } = this
    if (sink?.block.piece === block.piece && sink.block.begin === block.begin) {
      sink.target = undefined
    }
  }

  /** A piece is gone: bytes of it that are still arriving go nowhere. */
  dropSink(piece: number): void {
    if (this.sink?.block.piece === piece) this.sink.target = undefined
  }

  close(error?: IsthmusError): void {
    this.wire.close(error)
  }

  // What the wire tells

  onHandshake(handshake: Handshake): void {
    clearTimeout(this.#timer)
    this.#timer = undefined
    this.handshake = handshake
    this.#handler = this.#options.route(this, handshake)
    if (this.#handler === undefined) this.wire.close()
  }

  onOpen(): void {
    this.#handler?.onOpen(this)
  }

  onChoke(): void {
    this.#chokedAt = this.wire.lastReceivedAt
    this.#handler?.onChoke(this)
  }

  onUnchoke(): void {
    this.#handler?.onUnchoke(this)
  }

  onInterested(): void {
    this.#handler?.onInterest(this)
  }

  onNotInterested(): void {
    this.#handler?.onInterest(this)
  }

  onHave(piece: number): void {
    if (this.pieces === undefined) {
      const { haves } = this.#earlyPieces()
      if (piece < this.#options.limits.pieces && haves.size < EARLY_HAVES) haves.add(piece)
      this.#early?.lost.delete(piece)
    } else if (this.pieces.set(piece)) {
      this.#handler?.onPieces(this, piece)
    }
  }

  onBitfield(bits: Uint8Array): void {
    if (this.pieces === undefined) {
      // Not `slice`, which of a Buffer is a view.
      this.#earlyPieces().bits = new Uint8Array(bits)
      return
    }
    const pieces = Bitfield.from(bits, this.pieces.length)
    if (pieces === undefined) throw badBitfield()
    this.#setPieces(pieces)
  }

  onHaveAll(): void {
    if (this.pieces === undefined) this.#earlyPieces().all = true
    else this.#setPieces(Bitfield.full(this.pieces.length))
  }

  onHaveNone(): void {}

  onAllowedFast(): void {}

  onSuggest(): void {}

  onDhtPort(port: number): void {
    this.#handler?.onDhtPort(this, port)
  }

  onExtendedHandshake(extended: ExtendedHandshake): void {
    // It may come again, with what has changed.
    const known = Object.entries(extended).filter(([, value]) => value !== undefined)
    this.extended = { ...(this.extended ?? extended), ...Object.fromEntries(known) }
    this.uploadOnly = extended.uploadOnly ?? this.uploadOnly
    const { peerRequests } = this.#options.limits
    this.window.limit(Math.min(peerRequests, extended.requestQueue ?? peerRequests))
    this.#handler?.onExtendedHandshake(this, extended)
  }

  onExtension(name: string, payload: Uint8Array): void {
    this.#handler?.onExtension(this, name, payload)
  }

  onBlockStart(block: BlockRequest): BlockSink | undefined {
    return this.#handler?.onBlockStart(this, block)
  }

  onBlock(block: BlockRequest, waitedMs: number): void {
    const now = this.wire.lastReceivedAt
    this.snubbed = false
    this.window.answered(waitedMs, now)
    this.#pace.answered(block.length, now)
    this.downloadRate.add(block.length, now)
    this.lastBlockAt = now
    this.#handler?.onBlock(this, block)
    this.sink = undefined
  }

  onReject(block: BlockRequest): void {
    this.rates?.download.refund(block.length)
    this.#handler?.onReject(this, block)
  }

  onTurn(): void {
    this.#handler?.onTurn(this)
  }

  onClose(error: IsthmusError | undefined): void {
    clearTimeout(this.#timer)
    if (this.sink !== undefined) this.sink.target = undefined
    if (this.rates?.download.isLimited) {
      for (const { length } of this.wire.data.requests()) this.rates.download.refund(length)
    }
    if (this.#handler === undefined) this.#options.onLost(this)
    else this.#handler.onClose(this, error)
  }

  get #windowRoom(): number {
    const { outstanding } = this.wire.data
    if (this.wire.closed || this.wire.control.peerChoking) return 0
    if (this.snubbed) return 1 - outstanding
    const { size } = this.window
    // A few requests at a time cost a system call each time; a window that is nearly full can wait.
    return size - outstanding >= size >> 3 ? size - outstanding : 0
  }

  #setPieces(pieces: Bitfield): void {
    this.pieces = pieces
    this.#handler?.onPieces(this, undefined)
  }

  #earlyPieces() {
    this.#early ??= { all: false, bits: undefined, haves: new Set(), lost: new Set() }
    return this.#early
  }

  #tooSlow(): void {
    this.wire.close(
      new IsthmusError('ISTHMUS_WIRE_TIMEOUT', 'the peer did not shake hands in time'),
    )
  }
}

// A peer that completes pieces while we fetch the metadata; more would be a flood.
const EARLY_HAVES = 10_000

function badBitfield(): IsthmusError {
  return new IsthmusError(
    'ISTHMUS_WIRE_PROTOCOL',
    'the peer broke the protocol: a bitfield of another length',
  )
}
