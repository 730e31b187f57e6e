import ProtocolWire from 'bittorrent-protocol'
import { encodeBencode } from '../metainfo/bencode.ts'
import { decodeExtendedHandshake, type ExtendedHandshake } from './extended-handshake.ts'
import { protocolError } from './frames.ts'
import type { Handshake } from './handshake.ts'
import { MessageId } from './message-id.ts'

/** What a peer says, as facts in the order in which they came. */
export interface ControlHandler {
  /** Both handshakes are through, and nothing else was said yet: the place for `presence`. */
  onOpen(): void
  onChoke(): void
  onUnchoke(): void
  onInterested(): void
  onNotInterested(): void
  onHave(piece: number): void
  /** Valid during the call only. */
  onBitfield(bits: Uint8Array): void
  onHaveAll(): void
  onHaveNone(): void
  onAllowedFast(piece: number): void
  onSuggest(piece: number): void
  onDhtPort(port: number): void
  onExtendedHandshake(handshake: ExtendedHandshake): void
  /** A message of one of the extensions that we announced. Valid during the call only. */
  onExtension(name: string, payload: Uint8Array): void
}

export interface ControlPlaneOptions {
  readonly push: (bytes: Uint8Array) => void
  readonly handler: ControlHandler
  /** Extensions (BEP 10) that we announce. */
  readonly extensions: readonly string[]
}

const FAST_MESSAGES: ReadonlySet<number> = new Set([
  MessageId.suggest,
  MessageId.haveAll,
  MessageId.haveNone,
  MessageId.reject,
  MessageId.allowedFast,
])

/**
 * Everything on a connection but the blocks: choke and interest, who has what, the fast extension and
 * the extension protocol, kept by bittorrent-protocol. Its stream is taken off: messages go in whole,
 * checked and copied, and what it writes goes straight into our outbox, so that it keeps its order
 * with the blocks.
 */
export class ControlPlane {
  readonly #wire: ProtocolWire
  readonly #handler: ControlHandler
  readonly #extensions: readonly string[]
  /** Have-all and have-none may come once, and first. */
  #presenceSaid = false
  #bitfields = 0
  #handshakeSent = false
  #handshakeReceived = false

  constructor({ push, handler, extensions }: ControlPlaneOptions) {
    this.#handler = handler
    this.#extensions = extensions
    const wire = new ProtocolWire('', 0)
    wire._push = (bytes) => {
      push(bytes)
      // The library would follow an answering handshake with the extended one at once.
      if (!this.#handshakeSent) this.#onHandshake('sent')
      return true
    }
    for (const name of extensions) wire.use(extensionClass(name, handler))
    const on = (event: string, listener: (...args: never[]) => void) => wire.on(event, listener)
    on('handshake', () => this.#onHandshake('received'))
    on('choke', () => handler.onChoke())
    on('unchoke', () => handler.onUnchoke())
    on('interested', () => handler.onInterested())
    on('uninterested', () => handler.onNotInterested())
    // The library reads indices as signed numbers.
    on('have', (piece: number) => handler.onHave(piece >>> 0))
    on('have-all', () => handler.onHaveAll())
    on('have-none', () => handler.onHaveNone())
    on('allowed-fast', (piece: number) => handler.onAllowedFast(piece >>> 0))
    on('suggest', (piece: number) => handler.onSuggest(piece >>> 0))
    on('port', (port: number) => handler.onDhtPort(port))
    this.#wire = wire
  }

  get amChoking(): boolean {
    return this.#wire.amChoking
  }

  get amInterested(): boolean {
    return this.#wire.amInterested
  }

  get peerChoking(): boolean {
    return this.#wire.peerChoking
  }

  get peerInterested(): boolean {
    return this.#wire.peerInterested
  }

  /** Both ends speak the fast extension (BEP 6). */
  get hasFast(): boolean {
    return this.#wire.hasFast
  }

  /** Writes our handshake; the extended one follows by itself where the peer speaks BEP 10. */
  sendHandshake(
    infoHash: Uint8Array,
    peerId: Uint8Array,
    extended: Record<string, number | string | Uint8Array>,
    { dht = false }: { dht?: boolean } = {},
  ): void {
    this.#wire.extendedHandshake = extended
    this.#wire.handshake(infoHash, peerId, { fast: true, dht })
  }

  receiveHandshake({ reserved, infoHash, peerId }: Handshake): void {
    const bytes = Buffer.concat([HANDSHAKE_NAME, reserved, infoHash, peerId])
    this.#wire._onHandshakeBuffer(bytes)
  }

  /** Tells where our DHT node listens (BEP 5). */
  dhtPort(port: number): void {
    this.#wire.port(port)
  }

  keepAlive(): void {
    this.#wire.keepAlive()
  }

  choke(): void {
    this.#wire.choke()
  }

  unchoke(): void {
    this.#wire.unchoke()
  }

  interested(): void {
    this.#wire.interested()
  }

  notInterested(): void {
    this.#wire.uninterested()
  }

  have(piece: number): void {
    this.#wire.have(piece)
  }

  /** Says what we have, in the shortest form that the peer understands. Must be the first message. */
  presence(bits: Uint8Array | undefined, which: 'all' | 'none' | 'some'): void {
    if (this.hasFast && which !== 'some') {
      if (which === 'all') this.#wire.haveAll()
      else this.#wire.haveNone()
    } else if (bits !== undefined && which !== 'none') {
      this.#wire.bitfield(bits.slice())
    }
  }

  /** Whether the peer takes messages of this extension. */
  speaks(extension: string): boolean {
    return (this.#wire.peerExtendedMapping[extension] ?? 0) > 0
  }

  /**
   * From now on we do not speak the extension: it is not announced, or, where it was, switched off.
   * What comes of it nevertheless is passed over.
   */
  withdraw(extension: string): void {
    const mapping = this.#wire.extendedMapping
    for (const [id, name] of Object.entries(mapping)) if (name === extension) delete mapping[id]
    if (this.#wire._extendedHandshakeSent)
      this.#wire.extended(0, encodeBencode({ m: { [extension]: 0 } }))
  }

  /** Nothing happens where the peer does not speak the extension. */
  sendExtension(name: string, payload: Uint8Array): void {
    if (this.speaks(name)) this.#wire.extended(name, payload)
  }

  /** One message that frames found well-formed. Throws `ISTHMUS_WIRE_PROTOCOL` for one out of place. */
  receive(id: number, payload: Uint8Array): void {
    if (this.#wire._finished) return
    if (FAST_MESSAGES.has(id) && !this.hasFast) {
      throw protocolError(`message ${id} without the fast extension`)
    }
    switch (id) {
      case MessageId.bitfield:
        // Some clients send one later, instead of many haves; a flood of them would cost us more than it them.
        if (++this.#bitfields > BITFIELDS_AT_MOST) throw protocolError('too many bitfields')
        this.#presenceSaid = true
        // Its own copy would be rebuilt from these bytes on every call; ours is the one that counts.
        return this.#handler.onBitfield(payload)
      case MessageId.haveAll:
      case MessageId.haveNone:
        this.#presenceOnce()
        break
      case MessageId.extended:
        return this.#receiveExtended(payload)
    }
    this.#deliver(id, payload)
  }

  /** Nothing comes out any more, on either side. */
  close(): void {
    this.#wire._finished = true
    this.#wire._push = () => false
    this.#wire.removeAllListeners()
  }

  #receiveExtended(payload: Uint8Array): void {
    if (payload[0] !== 0) return this.#deliver(MessageId.extended, payload)
    const handshake = decodeExtendedHandshake(payload.subarray(1))
    const known = this.#extensions.flatMap((name) => {
      const id = handshake.extensions[name]
      return id === undefined ? [] : [[name, id] as const]
    })
    const checked = encodeBencode({ m: Object.fromEntries(known) })
    this.#deliver(MessageId.extended, Buffer.concat([Buffer.of(0), checked]))
    this.#handler.onExtendedHandshake(handshake)
  }

  #deliver(id: number, payload: Uint8Array): void {
    const message = new Uint8Array(1 + payload.length)
    message[0] = id
    message.set(payload, 1)
    this.#wire._onMessage(message)
  }

  #onHandshake(which: 'sent' | 'received'): void {
    if (which === 'sent') this.#handshakeSent = true
    else this.#handshakeReceived = true
    if (this.#handshakeSent && this.#handshakeReceived) this.#handler.onOpen()
  }

  #presenceOnce(): void {
    if (this.#presenceSaid) throw protocolError('have-all or have-none after a bitfield')
    this.#presenceSaid = true
  }
}

const BITFIELDS_AT_MOST = 100

const HANDSHAKE_NAME = Buffer.from('BitTorrent protocol', 'latin1')

function extensionClass(name: string, handler: ControlHandler) {
  class Extension {
    onMessage(payload: Uint8Array): void {
      handler.onExtension(name, payload)
    }
  }
  // The library takes the name of an extension from its prototype.
  Object.defineProperty(Extension.prototype, 'name', { value: name })
  return Extension
}
