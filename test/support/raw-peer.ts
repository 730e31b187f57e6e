import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { onTestFinished } from 'vitest'
import { type BencodeInput, encodeBencode } from '../../packages/core/src/metainfo/bencode.ts'
import { message } from './wire-messages.ts'

export interface RawMessage {
  /** -1 for a keep-alive. */
  readonly id: number
  readonly payload: Buffer
}

/** One end of a connection to a client, which says what a test wants it to say. */
export class RawPeer {
  readonly #socket: Socket
  readonly #heard: RawMessage[] = []
  #rest = Buffer.alloc(0)
  #greeted = false

  private constructor(socket: Socket) {
    this.#socket = socket
    socket.on('data', (chunk) => this.#receive(chunk))
    socket.on('error', () => {}) // the client may hang up in any way
    onTestFinished(() => void socket.destroy())
  }

  /** Dials, shakes hands without the fast extension, and sends its extended handshake. */
  static async dial(port: number, infoHash: string, extended: BencodeInput): Promise<RawPeer> {
    const peer = new RawPeer(connect(port, '127.0.0.1'))
    await once(peer.#socket, 'connect')
    const name = Buffer.from('\x13BitTorrent protocol', 'latin1')
    const reserved = Buffer.from('0000000000100000', 'hex')
    const hash = Buffer.from(infoHash, 'hex')
    const peerId = Buffer.from(`-XX0000-${String(Math.random()).padEnd(12, '0').slice(-12)}`)
    peer.#socket.write(Buffer.concat([name, reserved, hash, peerId]))
    peer.send(message(20, Buffer.of(0), encodeBencode(extended)))
    return peer
  }

  /** Its own. */
  get port(): number {
    return this.#socket.localPort ?? 0
  }

  send(bytes: Uint8Array): void {
    this.#socket.write(bytes)
  }

  /** Everything of this kind so far. */
  heard(id: number): readonly Buffer[] {
    return this.#heard.filter((heard) => heard.id === id).map(({ payload }) => payload)
  }

  /** The first message of which that is true, now or later. */
  async hear(matches: (heard: RawMessage) => boolean): Promise<RawMessage> {
    for (;;) {
      const found = this.#heard.find(matches)
      if (found !== undefined) return found
      if (this.#socket.closed) throw new Error('the connection ended')
      await Promise.race([once(this.#socket, 'heard'), once(this.#socket, 'close')])
    }
  }

  /** The client's extended handshake, as text. */
  async greeting(): Promise<string> {
    const { payload } = await this.hear(({ id, payload }) => id === 20 && payload[0] === 0)
    return payload.toString('latin1', 1)
  }

  /** Resolves once the client has hung up. */
  async closed(): Promise<void> {
    if (!this.#socket.closed) await once(this.#socket, 'close')
  }

  #receive(chunk: Buffer): void {
    this.#rest = Buffer.concat([this.#rest, chunk])
    if (!this.#greeted && this.#rest.length >= 68) {
      this.#greeted = true
      this.#rest = this.#rest.subarray(68)
    }
    while (this.#greeted && this.#rest.length >= 4) {
      const end = 4 + this.#rest.readUInt32BE(0)
      if (this.#rest.length < end) break
      const id = end === 4 ? -1 : (this.#rest[4] as number)
      this.#heard.push({ id, payload: this.#rest.subarray(5, Math.max(5, end)) })
      this.#rest = this.#rest.subarray(end)
    }
    this.#socket.emit('heard')
  }
}
