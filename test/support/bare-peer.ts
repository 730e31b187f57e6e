import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { createServer, type Server, type Socket } from 'node:net'
import type { Content } from './content.ts'

export interface BarePeerOptions {
  readonly content: Content
  /** @defaultValue '127.0.0.1' */
  readonly host?: string | undefined
  /** Whether the block at `begin` of `piece` is answered with a wrong byte. @defaultValue never */
  readonly lie?: ((piece: number, begin: number) => boolean) | undefined
  /** After so many blocks it answers no more and is gone for good. @defaultValue never */
  readonly leaveAfter?: number | undefined
}

const unchoke = 1
const interested = 2
const bitfield = 5
const request = 6
const piece = 7

/**
 * A seeder that speaks BEP 3 and no more, written on sockets alone so that our wire is not tested with
 * itself. It can lie.
 */
export class BarePeer {
  /** `host:port` that it listens on. */
  readonly address: string
  /** Blocks that it sent, wrong ones among them. */
  sentBlocks = 0
  wrongBlocks = 0
  readonly #server: Server
  readonly #sockets = new Set<Socket>()
  readonly #options: BarePeerOptions
  readonly #peerId = Buffer.concat([Buffer.from('-XX0000-'), randomBytes(12)])

  private constructor(server: Server, address: string, options: BarePeerOptions) {
    this.#server = server
    this.address = address
    this.#options = options
    server.on('connection', (socket) => this.#serve(socket))
  }

  static async start(options: BarePeerOptions): Promise<BarePeer> {
    const { host = '127.0.0.1' } = options
    const server = createServer().listen(0, host)
    await once(server, 'listening')
    const bound = server.address()
    const port = bound !== null && typeof bound === 'object' ? bound.port : 0
    return new BarePeer(server, `${host.includes(':') ? `[${host}]` : host}:${port}`, options)
  }

  async stop(): Promise<void> {
    if (!this.#server.listening) return
    const closed = once(this.#server, 'close')
    this.#server.close()
    for (const socket of this.#sockets) socket.destroy()
    await closed
  }

  #serve(socket: Socket): void {
    this.#sockets.add(socket)
    socket.on('close', () => this.#sockets.delete(socket))
    socket.on('error', () => {}) // whoever hangs up on us may do so in any way
    let buffer = Buffer.alloc(0)
    let greeted = false
    socket.on('data', (chunk) => {
      buffer = Buffer.concat([buffer, chunk])
      if (!greeted) {
        if (buffer.length < 68) return
        greeted = true
        this.#greet(socket, buffer.subarray(0, 68))
        buffer = buffer.subarray(68)
      }
      while (buffer.length >= 4) {
        const end = 4 + buffer.readUInt32BE(0)
        if (buffer.length < end) break
        if (end > 4) this.#answer(socket, buffer.subarray(4, end))
        buffer = buffer.subarray(end)
      }
    })
  }

  #greet(socket: Socket, handshake: Buffer): void {
    const { infoHash, bytes, pieceLength } = this.#options.content
    if (handshake.toString('hex', 28, 48) !== infoHash) {
      socket.destroy()
      return
    }
    const protocol = Buffer.concat([Buffer.from([19]), Buffer.from('BitTorrent protocol')])
    socket.write(
      Buffer.concat([protocol, Buffer.alloc(8), Buffer.from(infoHash, 'hex'), this.#peerId]),
    )
    const pieces = Math.ceil(bytes.length / pieceLength)
    const have = Buffer.alloc(Math.ceil(pieces / 8), 0xff)
    const spare = have.length * 8 - pieces
    have[have.length - 1] = (0xff << spare) & 0xff
    send(socket, bitfield, have)
  }

  #answer(socket: Socket, message: Buffer): void {
    if (message[0] === interested) send(socket, unchoke)
    if (message[0] !== request) return
    const { content, lie = () => false, leaveAfter = Number.POSITIVE_INFINITY } = this.#options
    if (this.sentBlocks >= leaveAfter) {
      void this.stop()
      return
    }
    const index = message.readUInt32BE(1)
    const begin = message.readUInt32BE(5)
    const start = index * content.pieceLength + begin
    const block = Buffer.from(content.bytes.subarray(start, start + message.readUInt32BE(9)))
    if (lie(index, begin)) {
      const middle = block.length >> 1
      block[middle] = (block[middle] ?? 0) ^ 0xff
      this.wrongBlocks++
    }
    this.sentBlocks++
    send(socket, piece, message.subarray(1, 9), block)
  }
}

function send(socket: Socket, id: number, ...parts: Buffer[]): void {
  const head = Buffer.alloc(5)
  head.writeUInt32BE(1 + parts.reduce((sum, { length }) => sum + length, 0))
  head[4] = id
  socket.write(Buffer.concat([head, ...parts]))
}
