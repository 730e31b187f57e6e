import { randomBytes } from 'node:crypto'
import { EventEmitter, once } from 'node:events'
import { createServer, type Server, type Socket } from 'node:net'

export interface AskedBlock {
  readonly piece: number
  readonly begin: number
  readonly length: number
}

/** What becomes of a request: the block, the block with a wrong byte, nothing, a reject (BEP 6). */
export type Answer = 'send' | 'lie' | 'hold' | 'reject'

export interface ScriptedPeerOptions {
  readonly infoHash: string
  readonly content: Uint8Array
  readonly pieceLength: number
  /** @defaultValue every request is answered at once */
  readonly answer?: ((block: AskedBlock, peer: ScriptedPeer) => Answer) | undefined
  /** @defaultValue all pieces */
  readonly has?: ((piece: number) => boolean) | undefined
  /** Speaks the fast extension (BEP 6). @defaultValue false */
  readonly fast?: boolean | undefined
}

const id = {
  choke: 0,
  unchoke: 1,
  interested: 2,
  have: 4,
  bitfield: 5,
  request: 6,
  piece: 7,
  cancel: 8,
  reject: 16,
}

/**
 * A seeder on plain sockets that does with each request what a test says, and remembers what it was
 * asked. Emits `request`, `cancel` and `gone`.
 */
export class ScriptedPeer extends EventEmitter {
  /** `host:port` that it listens on. */
  readonly address: string
  readonly requests: AskedBlock[] = []
  readonly cancels: AskedBlock[] = []
  /** Connections that came in. */
  connections = 0
  answer: (block: AskedBlock, peer: ScriptedPeer) => Answer
  readonly #options: ScriptedPeerOptions
  readonly #server: Server
  readonly #sockets = new Set<Socket>()
  readonly #held: { socket: Socket; block: AskedBlock }[] = []

  private constructor(server: Server, port: number, options: ScriptedPeerOptions) {
    super()
    this.#server = server
    this.#options = options
    this.address = `127.0.0.1:${port}`
    this.answer = options.answer ?? (() => 'send')
    server.on('connection', (socket) => this.#serve(socket))
  }

  static async start(options: ScriptedPeerOptions): Promise<ScriptedPeer> {
    const server = createServer({ noDelay: true }).listen(0, '127.0.0.1')
    await once(server, 'listening')
    const address = server.address()
    const port = address !== null && typeof address === 'object' ? address.port : 0
    return new ScriptedPeer(server, port, options)
  }

  /** How many are connected now. */
  get connected(): number {
    return this.#sockets.size
  }

  /** Resolves once it was asked for so many blocks in all. */
  async asked(count: number): Promise<void> {
    while (this.requests.length < count) await once(this, 'request')
  }

  /** Answers what it held back. */
  release(): void {
    for (const { socket, block } of this.#held.splice(0)) this.#send(socket, block, false)
  }

  choke(choking: boolean): void {
    for (const socket of this.#sockets) message(socket, choking ? id.choke : id.unchoke)
  }

  tellHave(piece: number): void {
    const index = Buffer.alloc(4)
    index.writeUInt32BE(piece)
    for (const socket of this.#sockets) message(socket, id.have, index)
  }

  hangUp(): void {
    for (const socket of this.#sockets) socket.destroy()
  }

  async stop(): Promise<void> {
    if (!this.#server.listening) return
    const closed = once(this.#server, 'close')
    this.#server.close()
    this.hangUp()
    await closed
  }

  #serve(socket: Socket): void {
    this.connections++
    this.#sockets.add(socket)
    socket.on('error', () => {}) // whoever hangs up on us may do so in any way
    socket.on('close', () => {
      this.#sockets.delete(socket)
      this.emit('gone')
    })
    let buffer = Buffer.alloc(0)
    let greeted = false
    socket.on('data', (chunk) => {
      buffer = Buffer.concat([buffer, chunk])
      if (!greeted) {
        if (buffer.length < 68) return
        greeted = true
        buffer = buffer.subarray(68)
        this.#greet(socket)
      }
      while (buffer.length >= 4) {
        const end = 4 + buffer.readUInt32BE(0)
        if (buffer.length < end) break
        if (end > 4) this.#receive(socket, buffer.subarray(4, end))
        buffer = buffer.subarray(end)
      }
    })
  }

  #greet(socket: Socket): void {
    const { infoHash, content, pieceLength, has = () => true, fast = false } = this.#options
    const reserved = Buffer.alloc(8)
    if (fast) reserved[7] = 0x04
    const hash = Buffer.from(infoHash, 'hex')
    const peerId = Buffer.concat([Buffer.from('-XX0000-'), randomBytes(12)])
    socket.write(Buffer.concat([Buffer.from('\x13BitTorrent protocol'), reserved, hash, peerId]))
    const pieces = Math.ceil(content.length / pieceLength)
    const bits = Buffer.alloc(Math.ceil(pieces / 8))
    for (let piece = 0; piece < pieces; piece++) {
      if (has(piece)) bits[piece >> 3] = (bits[piece >> 3] ?? 0) | (0x80 >> (piece & 7))
    }
    message(socket, id.bitfield, bits)
  }

  #receive(socket: Socket, bytes: Buffer): void {
    if (bytes[0] === id.interested) message(socket, id.unchoke)
    if (bytes[0] !== id.request && bytes[0] !== id.cancel) return
    const [piece, begin, length] = [1, 5, 9].map((at) => bytes.readUInt32BE(at))
    const block = { piece: piece ?? 0, begin: begin ?? 0, length: length ?? 0 }
    if (bytes[0] === id.cancel) {
      this.cancels.push(block)
      this.emit('cancel', block)
      return
    }
    this.requests.push(block)
    const answer = this.answer(block, this)
    if (answer === 'hold') this.#held.push({ socket, block })
    else if (answer === 'reject') message(socket, id.reject, bytes.subarray(1))
    else this.#send(socket, block, answer === 'lie')
    this.emit('request', block)
  }

  #send(socket: Socket, { piece, begin, length }: AskedBlock, lie: boolean): void {
    const start = piece * this.#options.pieceLength + begin
    const block = Buffer.from(this.#options.content.subarray(start, start + length))
    if (lie) block[block.length >> 1] = (block[block.length >> 1] ?? 0) ^ 0xff
    const where = Buffer.alloc(8)
    where.writeUInt32BE(piece)
    where.writeUInt32BE(begin, 4)
    message(socket, id.piece, where, block)
  }
}

function message(socket: Socket, kind: number, ...parts: Uint8Array[]): void {
  const head = Buffer.alloc(5)
  head.writeUInt32BE(1 + parts.reduce((sum, { length }) => sum + length, 0))
  head[4] = kind
  socket.write(Buffer.concat([head, ...parts]))
}
