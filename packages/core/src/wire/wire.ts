import type { Socket } from 'node:net'
import { IsthmusError, isIsthmusError } from '../errors.ts'
import type { Limits } from '../limits.ts'
import { type ControlHandler, ControlPlane } from './control-plane.ts'
import { type BlockHandler, DataPlane } from './data-plane.ts'
import { type FrameHandler, FrameReader, protocolError, readUint32 } from './frames.ts'
import type { Handshake } from './handshake.ts'
import { MessageId } from './message-id.ts'
import type { ObfuscatedStream } from './obfuscated-stream.ts'
import { Obfuscation, type ObfuscationOptions, type ResponderOptions } from './obfuscation.ts'
import { Outbox } from './outbox.ts'

/** What the owner of a connection is told. */
export interface WireHandler extends ControlHandler, BlockHandler {
  onHandshake(handshake: Handshake): void
  /** All that one read from the socket brought was told. */
  onTurn(): void
  /** Comes once, after which nothing else does. */
  onClose(error: IsthmusError | undefined): void
}

export interface WireOptions {
  readonly handler: WireHandler
  readonly limits: Limits
  readonly extensions: readonly string[]
  /** The layer under the frames (MSE): which end we are. @defaultValue none, every byte is plain */
  readonly obfuscation?: WireObfuscation | undefined
}

/** `initiate` once our handshake was queued, see {@link Wire.obfuscate}; `respond` takes plain peers too. */
export type WireObfuscation =
  | { readonly role: 'initiate' }
  | { readonly role: 'respond'; readonly options: ResponderOptions }

/** The shape of the torrent, against which indices are checked. */
export interface WireShape {
  readonly pieceCount: number
  /** Of all pieces but those at an end. */
  readonly pieceLength: number
  pieceSize(piece: number): number
}

/** One connection to a peer (BEP 3, 6, 10): bytes in, facts out, and the other way round. */
export class Wire {
  readonly control: ControlPlane
  readonly data: DataPlane
  readonly #socket: Socket
  readonly #outbox: Outbox
  readonly #frames: FrameReader
  readonly #handler: WireHandler
  #shape: WireShape | undefined
  /** Its handshake is not through yet. */
  #obfuscation: Obfuscation | undefined
  #stream: ObfuscatedStream | undefined
  #closed = false
  /** Milliseconds of `performance.now()` when the peer last said something. */
  lastReceivedAt: number

  constructor(socket: Socket, { handler, limits, extensions, obfuscation }: WireOptions) {
    this.#socket = socket
    this.#handler = handler
    this.lastReceivedAt = performance.now()
    this.#outbox = new Outbox(socket, { held: obfuscation !== undefined })
    if (obfuscation?.role === 'respond') {
      this.#obfuscation = Obfuscation.respond(obfuscation.options)
    }
    this.control = new ControlPlane({
      push: (bytes) => this.#outbox.push(bytes),
      handler,
      extensions,
    })
    this.data = new DataPlane({
      outbox: this.#outbox,
      handler,
      requestsAtMost: limits.peerRequests,
      // With less than twice the high-water mark waiting, no `drain` need come to go on after.
      sendBytesAtMost: Math.max(limits.peerSendBytes, 2 * socket.writableHighWaterMark),
      hasFast: () => this.control.hasFast,
    })
    this.#frames = new FrameReader(this.#frameHandler(), limits)
    socket.on('drain', () => this.data.pump())
    socket.on('error', (cause) =>
      this.#end(new IsthmusError('ISTHMUS_WIRE_CLOSED', 'the connection broke', { cause })),
    )
    socket.on('close', () => this.#end(undefined))
  }

  get closed(): boolean {
    return this.#closed
  }

  get lastSentAt(): number {
    return this.#outbox.lastSentAt
  }

  /** Bytes waiting to leave. */
  get pendingBytes(): number {
    return this.#outbox.pendingBytes
  }

  /** The torrent that an obfuscated connection was opened for; undefined for a plain one. */
  get obfuscatedInfoHash(): Uint8Array | undefined {
    return this.#stream?.infoHash
  }

  /** As the side that dialed: hides the connection, beginning with our handshake, which was queued before. */
  obfuscate(infoHash: Uint8Array, options: ObfuscationOptions): void {
    const initialPayload = this.#outbox.takeHeld()
    this.#obfuscation = Obfuscation.initiate({ ...options, infoHash, initialPayload })
    this.#socket.write(this.#obfuscation.start())
  }

  /** From now on indices are checked; before (while metadata is missing) only their form is. */
  setShape(shape: WireShape): void {
    this.#shape = shape
    this.data.setPieceLength(shape.pieceLength)
  }

  /** Bytes from the socket; the caller's again on return. A broken protocol closes the connection. */
  receive(chunk: Uint8Array): void {
    if (this.#closed) return
    this.lastReceivedAt = performance.now()
    try {
      if (this.#obfuscation !== undefined) this.#uncover(this.#obfuscation, chunk)
      else {
        // Also where the payload is plain: the initial payload, which may come late, is not.
        this.#stream?.decrypt(chunk)
        this.#frames.push(chunk)
      }
    } catch (error) {
      this.close(
        isIsthmusError(error)
          ? error
          : new IsthmusError('ISTHMUS_INTERNAL', 'a message could not be handled', {
              cause: error,
            }),
      )
    }
    if (this.#closed) return
    this.#handler.onTurn()
    this.#outbox.flush()
  }

  /** Chokes or unchokes the peer, and settles its requests accordingly. */
  setChoking(choking: boolean): void {
    if (choking) this.control.choke()
    else this.control.unchoke()
    this.data.setChoking(choking)
  }

  /** Sends what is queued now, not at the end of this turn. */
  flush(): void {
    this.#outbox.flush()
  }

  close(error?: IsthmusError): void {
    if (this.#closed) return
    this.#outbox.flush()
    this.#socket.destroy()
    this.#end(error)
  }

  #end(error: IsthmusError | undefined): void {
    if (this.#closed) return
    this.#closed = true
    this.#frames.end()
    this.control.close()
    this.#outbox.close()
    // Before the data plane forgets: what was asked for here must be asked for elsewhere.
    this.#handler.onClose(error)
    this.data.close()
  }

  #uncover(obfuscation: Obfuscation, chunk: Uint8Array): void {
    const { send, stream, received } = obfuscation.receive(chunk)
    if (send.length > 0) this.#socket.write(send)
    if (stream === undefined) return
    this.#obfuscation = undefined
    this.#stream = stream
    this.#outbox.release(stream.encrypts ? (bytes) => stream.encrypt(bytes) : undefined)
    this.#frames.push(received)
  }

  #frameHandler(): FrameHandler {
    return {
      onHandshake: (handshake) => {
        this.#handler.onHandshake(handshake)
        if (!this.#closed) this.control.receiveHandshake(handshake)
      },
      onKeepAlive: () => {},
      onMessage: (id, payload) => this.#onMessage(id, payload),
      onBlockStart: (piece, begin, length) => {
        this.#checkBlock(piece, begin, length)
        return this.data.onBlockStart(piece, begin, length)
      },
      onBlockEnd: (piece, begin, length) =>
        this.data.onBlockEnd(piece, begin, length, this.lastReceivedAt),
    }
  }

  #onMessage(id: number, payload: Uint8Array): void {
    this.#checkIndex(id, payload)
    switch (id) {
      case MessageId.request:
        return this.data.onRequest(payload)
      case MessageId.cancel:
        return this.data.onCancel(payload)
      case MessageId.reject:
        if (!this.control.hasFast) throw protocolError('a reject without the fast extension')
        return this.data.onReject(payload)
      case MessageId.choke:
        this.control.receive(id, payload)
        // BEP 6: with the fast extension every request gets its own answer.
        if (!this.control.hasFast) this.data.dropRequests()
        return
      default:
        return this.control.receive(id, payload)
    }
  }

  #checkIndex(id: number, payload: Uint8Array): void {
    const shape = this.#shape
    if (shape === undefined) return
    switch (id) {
      case MessageId.have:
      case MessageId.suggest:
      case MessageId.allowedFast:
        if (readUint32(payload, 0) >= shape.pieceCount) throw protocolError('a piece out of range')
        return
      case MessageId.request:
      case MessageId.cancel:
      case MessageId.reject:
        return this.#checkBlock(
          readUint32(payload, 0),
          readUint32(payload, 4),
          readUint32(payload, 8),
        )
    }
  }

  #checkBlock(piece: number, begin: number, length: number): void {
    const shape = this.#shape
    if (shape === undefined) return
    if (piece >= shape.pieceCount || begin + length > shape.pieceSize(piece)) {
      throw protocolError('a block out of range')
    }
  }
}
