import { copyBytes } from '../copy-bytes.ts'
import { IsthmusError } from '../errors.ts'
import { decodeHandshake, HANDSHAKE_LENGTH, type Handshake, isHandshakeStart } from './handshake.ts'
import { isMessageLength, MessageId, mayBeLarge } from './message-id.ts'

/** Where the bytes of a block go while they arrive. */
export interface BlockSink {
  /** Undefined from the moment that nobody wants them any more: the rest is dropped. */
  target: Uint8Array | undefined
  /** Where in `target` the block begins. */
  offset: number
}

/** Gets what {@link FrameReader} cuts out of the stream, synchronously and in order. */
export interface FrameHandler {
  onHandshake(handshake: Handshake): void
  onKeepAlive(): void
  /** All but `piece`. `payload` is without the id, and valid during the call only. */
  onMessage(id: number, payload: Uint8Array): void
  /** The header of a `piece` message was read. Throw to refuse it; answer undefined to drop its bytes. */
  onBlockStart(piece: number, begin: number, length: number): BlockSink | undefined
  /** All of its bytes came. */
  onBlockEnd(piece: number, begin: number, length: number): void
}

export interface FrameLimits {
  /** Longest bitfield or extended message. */
  readonly messageBytes: number
}

// 16 KiB of block, 13 bytes of header, and room for what BEP 52 adds: everything but bitfields and extended messages.
const SMALL_MESSAGE = 17 * 1024
const BLOCK_HEADER = 9

/**
 * Cuts a byte stream into a handshake and messages (BEP 3). Lengths are judged before a byte of the
 * message is kept; the bytes of a block go straight to where they belong. Throws
 * `ISTHMUS_WIRE_PROTOCOL`, after which the connection must be closed.
 */
export class FrameReader {
  readonly #handler: FrameHandler
  readonly #limits: FrameLimits
  /** What is being collected: a handshake, a header, or a whole message. */
  #pending = new Uint8Array(HANDSHAKE_LENGTH)
  #filled = 0
  #state: 'handshake' | 'length' | 'message' | 'block-header' | 'block' | 'ended' = 'handshake'
  /** Bytes of the present message, its id included. */
  #length = 0
  #sink: BlockSink | undefined
  #piece = 0
  #begin = 0
  #received = 0

  constructor(handler: FrameHandler, limits: FrameLimits) {
    this.#handler = handler
    this.#limits = limits
  }

  /** Nothing more is handed out, also not by a `push` that is under way. */
  end(): void {
    this.#state = 'ended'
    this.#sink = undefined
  }

  /** `chunk` is the caller's again when this returns. */
  push(chunk: Uint8Array): void {
    let at = 0
    while (at < chunk.length) {
      switch (this.#state) {
        case 'length':
          at = this.#readLength(chunk, at)
          break
        case 'block':
          at = this.#readBlock(chunk, at)
          break
        case 'block-header':
          at = this.#readBlockHeader(chunk, at)
          break
        case 'message':
          at = this.#readMessage(chunk, at)
          break
        case 'handshake':
          at = this.#readHandshake(chunk, at)
          break
        case 'ended':
          return
      }
    }
  }

  #readHandshake(chunk: Uint8Array, at: number): number {
    const next = this.#collect(chunk, at, HANDSHAKE_LENGTH)
    if (!isHandshakeStart(this.#pending.subarray(0, this.#filled))) {
      throw protocolError('no BitTorrent handshake')
    }
    if (this.#filled < HANDSHAKE_LENGTH) return next
    const handshake = decodeHandshake(this.#pending)
    this.#pending = new Uint8Array(BLOCK_HEADER)
    this.#expectLength()
    if (handshake !== undefined) this.#handler.onHandshake(handshake)
    return next
  }

  #readLength(chunk: Uint8Array, at: number): number {
    if (this.#filled === 0 && chunk.length - at >= 5) {
      this.#length = readUint32(chunk, at)
      if (this.#length === 0) return this.#keepAlive(at + 4)
      return this.#beginMessage(chunk[at + 4] as number, at + 4)
    }
    const next = this.#collect(chunk, at, 4)
    if (this.#filled < 4) return next
    this.#length = readUint32(this.#pending, 0)
    if (this.#length === 0) return this.#keepAlive(next)
    if (this.#length > Math.max(this.#limits.messageBytes, SMALL_MESSAGE)) throw this.#tooLong()
    // The id decides what may follow: wait for it, where it lies beyond this chunk.
    if (next >= chunk.length) return this.#waitForId(next)
    return this.#beginMessage(chunk[next] as number, next)
  }

  #waitForId(next: number): number {
    this.#state = 'message'
    this.#filled = 0
    return next
  }

  #keepAlive(next: number): number {
    this.#expectLength()
    this.#handler.onKeepAlive()
    return next
  }

  /** `at` is where the id stands. */
  #beginMessage(id: number, at: number): number {
    const limit = mayBeLarge(id) ? this.#limits.messageBytes : SMALL_MESSAGE
    if (this.#length > limit) throw this.#tooLong()
    if (!isMessageLength(id, this.#length)) {
      throw protocolError(`message ${id} of ${this.#length} bytes`)
    }
    this.#filled = 0
    if (id === MessageId.piece) {
      this.#state = 'block-header'
      return at
    }
    this.#state = 'message'
    return at
  }

  #readMessage(chunk: Uint8Array, at: number): number {
    if (this.#filled === 0) {
      const id = chunk[at] as number
      this.#beginMessage(id, at)
      if (this.#stateIs('block-header')) return at
      const end = at + this.#length
      if (end <= chunk.length) {
        this.#expectLength()
        this.#handler.onMessage(id, chunk.subarray(at + 1, end))
        return end
      }
    }
    const next = this.#collect(chunk, at, this.#length)
    if (this.#filled < this.#length) return next
    const message = this.#pending.subarray(0, this.#length)
    // A large message must not stay behind in the memory of an idle connection.
    if (this.#pending.length > 64) this.#pending = new Uint8Array(BLOCK_HEADER)
    this.#expectLength()
    this.#handler.onMessage(message[0] as number, message.subarray(1))
    return next
  }

  #readBlockHeader(chunk: Uint8Array, at: number): number {
    if (this.#filled === 0 && chunk.length - at >= BLOCK_HEADER) {
      this.#beginBlock(chunk, at)
      return at + BLOCK_HEADER
    }
    const next = this.#collect(chunk, at, BLOCK_HEADER)
    if (this.#filled === BLOCK_HEADER) this.#beginBlock(this.#pending, 0)
    return next
  }

  #beginBlock(bytes: Uint8Array, at: number): void {
    this.#piece = readUint32(bytes, at + 1)
    this.#begin = readUint32(bytes, at + 5)
    this.#length -= BLOCK_HEADER
    this.#received = 0
    this.#state = 'block'
    this.#sink = this.#handler.onBlockStart(this.#piece, this.#begin, this.#length)
  }

  #readBlock(chunk: Uint8Array, at: number): number {
    const take = Math.min(this.#length - this.#received, chunk.length - at)
    const sink = this.#sink
    if (sink?.target !== undefined) {
      const bytes = take === chunk.length ? chunk : chunk.subarray(at, at + take)
      copyBytes(bytes, sink.target, sink.offset + this.#received)
    }
    this.#received += take
    if (this.#received < this.#length) return at + take
    const length = this.#length
    this.#sink = undefined
    this.#expectLength()
    this.#handler.onBlockEnd(this.#piece, this.#begin, length)
    return at + take
  }

  #expectLength(): void {
    if (this.#state === 'ended') return
    this.#state = 'length'
    this.#filled = 0
  }

  /** Copies into `#pending` until it holds `size` bytes; answers where in `chunk` it stopped. */
  #collect(chunk: Uint8Array, at: number, size: number): number {
    const take = Math.min(size - this.#filled, chunk.length - at)
    // Grows with what came, not with what was announced: a claim alone costs us nothing.
    if (this.#pending.length < this.#filled + take) {
      const grown = new Uint8Array(Math.min(size, Math.max(2 * this.#filled, this.#filled + take)))
      grown.set(this.#pending.subarray(0, this.#filled))
      this.#pending = grown
    }
    this.#pending.set(chunk.subarray(at, at + take), this.#filled)
    this.#filled += take
    return at + take
  }

  // A call in between may have changed the state, which the compiler does not see.
  #stateIs(state: string): boolean {
    return this.#state === state
  }

  #tooLong(): IsthmusError {
    return protocolError(`a message of ${this.#length} bytes`)
  }
}

/** The peer broke the protocol: its connection ends, and nothing else does. */
export function protocolError(what: string): IsthmusError {
  return new IsthmusError('ISTHMUS_WIRE_PROTOCOL', `the peer broke the protocol: ${what}`)
}

export function readUint32(bytes: Uint8Array, at: number): number {
  return (
    ((bytes[at] as number) * 0x1000000 +
      (((bytes[at + 1] as number) << 16) |
        ((bytes[at + 2] as number) << 8) |
        (bytes[at + 3] as number))) >>>
    0
  )
}
