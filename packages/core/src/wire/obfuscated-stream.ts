import type { ObfuscationMethod } from './obfuscation-policy.ts'
import type { Rc4 } from './rc4.ts'

export interface ObfuscatedStreamOptions {
  readonly method: ObfuscationMethod
  readonly infoHash: Uint8Array
  readonly outgoing: Rc4
  readonly incoming: Rc4
  /** Bytes that come through RC4 whatever the method: the initial payload. */
  readonly initialBytes: number
}

/** What an obfuscated handshake led to: all bytes of the connection pass through it from then on, in order. */
export class ObfuscatedStream {
  /** undefined: the peer opened a plain connection, and bytes pass as they are. */
  readonly method: ObfuscationMethod | undefined
  /** The torrent that the handshake named; the BitTorrent handshake must name it too. */
  readonly infoHash: Uint8Array | undefined
  readonly #outgoing: Rc4 | undefined
  #incoming: Rc4 | undefined
  /** Bytes until `#incoming` has done its work. */
  #incomingBytes: number

  private constructor(options: ObfuscatedStreamOptions | undefined) {
    const ciphered = options?.method === 'rc4'
    this.method = options?.method
    this.infoHash = options?.infoHash
    this.#outgoing = ciphered ? options.outgoing : undefined
    this.#incomingBytes = ciphered ? Number.POSITIVE_INFINITY : (options?.initialBytes ?? 0)
    this.#incoming = this.#incomingBytes > 0 ? options?.incoming : undefined
  }

  static plain(): ObfuscatedStream {
    return new ObfuscatedStream(undefined)
  }

  static open(options: ObfuscatedStreamOptions): ObfuscatedStream {
    return new ObfuscatedStream(options)
  }

  /** Whether `encrypt` changes anything: where not, bytes need not be copied for it. */
  get encrypts(): boolean {
    return this.#outgoing !== undefined
  }

  /** In place: never on bytes that somebody else still reads, such as a block out of a cache. */
  encrypt(bytes: Uint8Array): void {
    this.#outgoing?.apply(bytes)
  }

  /** In place. */
  decrypt(bytes: Uint8Array): void {
    const incoming = this.#incoming
    if (incoming === undefined) return
    if (bytes.length < this.#incomingBytes) {
      incoming.apply(bytes)
      this.#incomingBytes -= bytes.length
    } else {
      incoming.apply(bytes.subarray(0, this.#incomingBytes))
      this.#incomingBytes = 0
      this.#incoming = undefined
    }
  }
}
