import { randomBytes, randomInt } from 'node:crypto'
import { HANDSHAKE_LENGTH } from './handshake.ts'
import { HASH_LENGTH } from './mse-keys.ts'
import type { ObfuscatedStream } from './obfuscated-stream.ts'
import {
  type HandshakeTools,
  initiate,
  LONGEST_HANDSHAKE,
  MAX_PADDING,
  respond,
} from './obfuscation-handshake.ts'
import { ObfuscationIntake, type Reading } from './obfuscation-intake.ts'
import { type ObfuscationSettings, payloadMethods } from './obfuscation-policy.ts'

export interface ObfuscationOptions extends ObfuscationSettings {
  /** Bytes of the next padding, 0 to 512. @defaultValue a random number of them */
  readonly paddingLength?: (() => number) | undefined
  /** @defaultValue that of `node:crypto` */
  readonly random?: ((length: number) => Uint8Array) | undefined
}

export interface InitiatorOptions extends ObfuscationOptions {
  /** Of the torrent that the peer is dialled for, 20 bytes. */
  readonly infoHash: Uint8Array
  /**
   * What is said first, which then costs no round trip of its own: a BitTorrent handshake, 68 bytes at most.
   * @defaultValue nothing
   */
  readonly initialPayload?: Uint8Array | undefined
}

export interface ResponderOptions extends ObfuscationOptions {
  /** The info hash of ours whose `obfuscatedHash` this is. */
  readonly findInfoHash: (hash: Uint8Array) => Uint8Array | undefined
}

/** What came of received bytes. */
export interface ObfuscationStep {
  /** To be sent now, as it is, before anything else; often empty. */
  readonly send: Uint8Array
  /** Where the handshake is through: what all further bytes of the connection pass through. */
  readonly stream: ObfuscatedStream | undefined
  /** What the peer said behind the handshake, decrypted: a view of the chunk, or a copy. Empty before. */
  readonly received: Uint8Array
}

const NOTHING = new Uint8Array(0)

/**
 * The handshake of message stream encryption (MSE), which hides from networks that a connection is
 * BitTorrent, and no more: it proves nobody's identity. It has no socket and no timer; whoever has them
 * limits how long it may take. It keeps 1,176 bytes, however much comes.
 */
export class Obfuscation {
  readonly #intake = new ObfuscationIntake(LONGEST_HANDSHAKE)
  readonly #reading: Reading<ObfuscatedStream>
  #sent: Uint8Array[] = []
  #over = false

  private constructor(
    options: ObfuscationOptions,
    begin: (tools: HandshakeTools) => Reading<ObfuscatedStream>,
  ) {
    const { paddingLength = () => randomInt(MAX_PADDING + 1), random = randomBytes } = options
    this.#reading = begin({
      intake: this.#intake,
      methods: payloadMethods(options),
      send: (...parts) => this.#sent.push(...parts),
      random,
      paddingLength,
    })
  }

  /** The side that dialled. @throws RangeError for an info hash or initial payload of the wrong length */
  static initiate(options: InitiatorOptions): Obfuscation {
    const { infoHash, initialPayload = NOTHING } = options
    if (infoHash.length !== HASH_LENGTH) throw new RangeError('an info hash has 20 bytes here')
    if (initialPayload.length > HANDSHAKE_LENGTH) {
      throw new RangeError('an initial payload is no longer than a handshake')
    }
    return new Obfuscation(options, (tools) => initiate({ ...tools, infoHash, initialPayload }))
  }

  /** The side that was dialled; takes plain connections too, where the policy allows them. */
  static respond(options: ResponderOptions): Obfuscation {
    const { policy = 'prefer', findInfoHash } = options
    return new Obfuscation(options, (tools) => respond({ ...tools, policy, findInfoHash }))
  }

  /** Once the connection is open: what to send first. The side that was dialled has nothing to say. */
  start(): Uint8Array {
    this.#advance()
    return this.#takeSent()
  }

  /**
   * Bytes from the peer, after `start`; they are changed in place, and the caller's again once the
   * answer was used. Not for those that come after the handshake. Throws `ISTHMUS_WIRE_PROTOCOL`, after
   * which the connection must be closed.
   */
  receive(chunk: Uint8Array): ObfuscationStep {
    if (this.#over) throw new TypeError('the obfuscated handshake is over')
    const before = this.#intake.filled
    this.#intake.push(chunk)
    const stream = this.#advance()
    const send = this.#takeSent()
    if (stream === undefined) return { send, stream, received: NOTHING }
    const received = this.#behind(before, chunk)
    stream.decrypt(received)
    return { send, stream, received }
  }

  #advance(): ObfuscatedStream | undefined {
    try {
      const { done, value } = this.#reading.next()
      this.#over = done === true
      return value
    } catch (error) {
      this.#over = true
      throw error
    }
  }

  #takeSent(): Uint8Array {
    const sent = this.#sent
    this.#sent = []
    return Buffer.concat(sent)
  }

  /** What follows the handshake. `before` bytes were kept when `chunk` came. */
  #behind(before: number, chunk: Uint8Array): Uint8Array {
    const { at } = this.#intake
    if (at >= before) return chunk.subarray(at - before)
    // A plain connection was recognised only now: nothing of it was read.
    return Buffer.concat([this.#intake.unread(before), chunk])
  }
}
