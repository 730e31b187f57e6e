import { once } from 'node:events'
import { createConnection, createServer, type Socket } from 'node:net'
import { describe, expect, onTestFinished, test } from 'vitest'
import { CapturedSocket } from '../../../../test/support/captured-socket.ts'
import { has } from '../../../../test/support/clients.ts'
import {
  handshakeBytes,
  infoHashSample,
  message,
  numbers,
  splitMessages,
  uint32,
} from '../../../../test/support/wire-messages.ts'
import type { IsthmusError } from '../errors.ts'
import { createLimits, type Limits } from '../limits.ts'
import { Layout } from '../metainfo/layout.ts'
import type { BlockRequest } from './data-plane.ts'
import type { BlockSink } from './frames.ts'
import type { Handshake } from './handshake.ts'
import { MessageId } from './message-id.ts'
import { Wire, type WireHandler } from './wire.ts'

const KIB16 = 16_384
const PIECE = 64 * 1024
const content = Uint8Array.from({ length: 3 * PIECE + 1000 }, (_, index) => (index * 31) % 251)
const shape = new Layout({ files: [{ length: content.length }], pieceLength: PIECE })

const hosts = ['127.0.0.1', ...(has('IPv6') ? ['::1'] : [])]

describe.each(hosts)('two wires over %s', (host) => {
  test('shake hands, tell what they have, and hand over the right bytes', async () => {
    const { dialer, listener } = await connectWires(host)
    await listener.until('extended handshake')
    await dialer.until('extended handshake')
    const toDialer = ['handshake', 'open', 'have none', 'extended handshake']
    expect(dialer.calls.filter((call) => call !== 'turn')).toEqual(toDialer)
    const toListener = ['handshake', 'open', 'bitfield 80', 'extended handshake']
    expect(listener.calls.filter((call) => call !== 'turn')).toEqual(toListener)

    listener.wire.control.have(3)
    await dialer.until('have 3')
    dialer.wire.control.interested()
    await listener.until('interested')
    listener.wire.setChoking(false)
    await dialer.until('unchoke')
    const blocks = blocksOf(3)
    const target = new Uint8Array(1000)
    dialer.sinkOf = ({ begin }) => ({ target, offset: begin })
    for (const block of blocks) dialer.wire.data.request(block, performance.now())
    await dialer.until('block 3 0 1000')
    expect(target).toEqual(content.subarray(3 * PIECE))
    expect(dialer.wire.data.downloaded).toBe(1000)
    expect(listener.wire.data.uploaded).toBe(1000)
  })

  test('hand over a whole piece, in the middle of one read and over many', async () => {
    const { dialer, listener } = await connectWires(host)
    await listener.until('extended handshake')
    listener.wire.setChoking(false)
    await dialer.until('unchoke')
    const target = new Uint8Array(PIECE)
    dialer.sinkOf = ({ begin }) => ({ target, offset: begin })
    for (const block of blocksOf(1)) dialer.wire.data.request(block, performance.now())
    await dialer.until(`block 1 ${3 * KIB16} ${KIB16}`)
    expect(target).toEqual(content.slice(PIECE, 2 * PIECE))
    expect(dialer.wire.data.outstanding).toBe(0)
  })

  test('end together', async () => {
    const { dialer, listener } = await connectWires(host)
    await dialer.until('open')
    dialer.wire.close()
    await listener.until('close')
    expect(dialer.calls.at(-1)).toBe('close')
    expect([dialer.wire.closed, listener.wire.closed]).toEqual([true, true])
  })
})

describe('a message out of range', () => {
  const beyond = content.length - 3 * PIECE
  test.each([
    ['have', numbers(MessageId.have, 4)],
    ['have', numbers(MessageId.have, 0xffffffff)],
    ['suggest', numbers(MessageId.suggest, 4)],
    ['allowed fast', numbers(MessageId.allowedFast, 4)],
    ['request', numbers(MessageId.request, 4, 0, KIB16)],
    ['request', numbers(MessageId.request, 3, 0, beyond + 1)],
    ['request', numbers(MessageId.request, 0, 0xffffffff, KIB16)],
    ['request', numbers(MessageId.request, 0, PIECE - KIB16 + 1, KIB16)],
    ['cancel', numbers(MessageId.cancel, 4, 0, KIB16)],
    ['reject', numbers(MessageId.reject, 0, PIECE, 1)],
    ['piece', message(MessageId.piece, uint32(4), uint32(0), Buffer.of(1))],
    ['piece', message(MessageId.piece, uint32(3), uint32(beyond), Buffer.of(1))],
    ['piece', message(MessageId.piece, uint32(0), uint32(0xffffffff), Buffer.of(1))],
  ])('in a %s closes that wire, and no other', async (_, bytes) => {
    const bystander = await connectBare()
    const { peer, log } = await connectBare()
    await log.until('open')
    const calls = log.calls.length
    peer.write(bytes)
    await log.until('close ISTHMUS_WIRE_PROTOCOL')
    expect(log.calls).toHaveLength(calls + 1)
    await ended(peer)
    await bystander.log.until('open')
    bystander.peer.write(numbers(MessageId.have, 3))
    await bystander.log.until('have 3')
    expect(bystander.log.wire.closed).toBe(false)
  })

  test('is only bounded by its form while the shape is unknown', async () => {
    const { peer, log } = await connectBare({ shaped: false })
    await log.until('open')
    peer.write(numbers(MessageId.have, 0xffffffff))
    await log.until('have 4294967295')
    peer.write(numbers(MessageId.request, 0xffffffff, 0xffffffff, KIB16))
    peer.write(numbers(MessageId.have, 1))
    await log.until('have 1')
    expect(log.wire.closed).toBe(false)
  })
})

describe('a broken protocol', () => {
  test.each([
    ['garbage', Buffer.from('GET / HTTP/1.1\r\n\r\n')],
    ['a message before the handshake', message(MessageId.unchoke)],
    ['a length past the limit', Buffer.concat([handshakeBytes(), uint32(0xffffffff)])],
    ['a second handshake', Buffer.concat([handshakeBytes(), handshakeBytes()])],
    [
      'a reject without the fast extension',
      Buffer.concat([handshakeBytes({ extended: true }), numbers(MessageId.reject, 0, 0, KIB16)]),
    ],
    [
      'a request of no bytes',
      Buffer.concat([handshakeBytes(), numbers(MessageId.request, 0, 0, 0)]),
    ],
    [
      'a second word on all that it has',
      Buffer.concat([
        handshakeBytes({ fast: true }),
        message(MessageId.haveAll),
        message(MessageId.haveNone),
      ]),
    ],
  ])('that is %s closes the wire', async (_, bytes) => {
    const { peer, log } = await connectBare({ greeting: Buffer.alloc(0) })
    peer.write(bytes)
    await log.until('close ISTHMUS_WIRE_PROTOCOL')
    await ended(peer)
  })

  test('lets nothing through that comes behind it in the same read', () => {
    const { log } = unconnected()
    const rest = [numbers(MessageId.have, 9), numbers(MessageId.have, 1)]
    log.wire.receive(Buffer.concat([handshakeBytes({ fast: true }), ...rest]))
    expect(log.calls).toEqual(['handshake', 'open', 'close ISTHMUS_WIRE_PROTOCOL'])
    log.wire.receive(numbers(MessageId.have, 1))
    log.wire.close()
    expect(log.calls).toHaveLength(3)
  })

  test('is told apart from a handler that failed, which closes no other way', () => {
    const { log } = unconnected()
    log.onHave = () => {
      throw new TypeError('a bug of ours')
    }
    log.wire.receive(Buffer.concat([handshakeBytes(), numbers(MessageId.have, 1)]))
    expect(log.calls.at(-1)).toBe('close ISTHMUS_INTERNAL')
    expect(log.closedWith?.cause).toBeInstanceOf(TypeError)
  })
})

describe('a peer that falls silent', () => {
  test('changes nothing, and the time of its last word stays', async () => {
    const { peer, log } = await connectBare()
    await log.until('open')
    const before = log.wire.lastReceivedAt
    const calls = log.calls.length
    // Both directions have gone through the same two sockets before we look.
    log.wire.control.keepAlive()
    const [bytes] = (await once(peer, 'data')) as [Buffer]
    expect(bytes.length).toBeGreaterThan(0)
    expect(log.wire.lastReceivedAt).toBe(before)
    expect(log.calls).toHaveLength(calls)
    peer.write(uint32(0))
    await log.until('turn')
    expect(log.wire.lastReceivedAt).toBeGreaterThan(before)
  })
})

describe('a wire that ends', () => {
  test('says so once: without an error where the peer hung up', async () => {
    const { peer, log } = await connectBare()
    await log.until('open')
    peer.end()
    await log.until('close')
    log.wire.close()
    expect(log.calls.filter((call) => call.startsWith('close'))).toEqual(['close'])
  })

  test('says so once: with the cause where the connection broke', async () => {
    const { peer, log } = await connectBare()
    await log.until('open')
    peer.resetAndDestroy()
    await log.until('close ISTHMUS_WIRE_CLOSED')
    expect(log.closedWith?.cause).toBeInstanceOf(Error)
    expect(log.calls.filter((call) => call.startsWith('close'))).toHaveLength(1)
  })

  test('in the moment of the handshake does not open', () => {
    const { log, socket } = unconnected()
    log.onHandshake = () => log.wire.close()
    log.wire.receive(handshakeBytes({ extended: true }))
    expect(log.calls).toEqual(['close'])
    expect(socket.destroyed).toBe(true)
  })

  test('still tells its handler what it was asked for', () => {
    const { log } = unconnected()
    log.wire.data.request(blocksOf(1)[0] as BlockRequest, 0)
    let left: readonly BlockRequest[] = []
    log.onClose = () => {
      left = log.wire.data.requests()
    }
    log.wire.close()
    expect(left).toHaveLength(1)
    expect(log.wire.data.outstanding).toBe(0)
  })
})

describe('a choke', () => {
  test('from a peer without the fast extension gives back all that it was asked for', () => {
    for (const [fast, back] of [
      [false, 1],
      [true, 0],
    ] as const) {
      const { log } = unconnected()
      log.wire.receive(handshakeBytes({ fast }))
      log.wire.data.request(blocksOf(1)[0] as BlockRequest, 0)
      log.wire.receive(message(MessageId.choke))
      expect(log.calls.filter((call) => call === `reject 1 0 ${KIB16}`)).toHaveLength(back)
      expect(log.wire.data.outstanding).toBe(1 - back)
    }
  })

  test('of ours goes out before the rejects that follow from it', async () => {
    const { peer, log } = await connectBare()
    await log.until('open')
    log.wire.setChoking(false)
    const received = collect(peer)
    peer.write(numbers(MessageId.request, 0, 0, KIB16))
    await log.until('turn')
    log.wire.setChoking(true)
    await received.until(MessageId.reject)
    const ids = received.ids().filter((id) => id < 2 || id === MessageId.reject)
    expect(ids).toEqual([MessageId.unchoke, MessageId.choke, MessageId.reject])
  })
})

describe('blocks that wait for the peer to read', () => {
  test('go on when it does, also under a limit smaller than the socket’s own', async () => {
    const { peer, log } = await connectBare({ limits: { peerSendBytes: 1 } })
    await log.until('open')
    log.wire.setChoking(false)
    const received = collect(peer)
    // Never one behind the other, so that each is a read, and a wait, of its own.
    const wanted = Array.from({ length: 60 }, (_, index) => [index % 2, (index % 4) * KIB16])
    for (const [piece, begin] of wanted) {
      peer.write(numbers(MessageId.request, piece ?? 0, begin ?? 0, KIB16))
    }
    await received.until(MessageId.piece, wanted.length)
    expect(log.wire.data.uploaded).toBe(60 * KIB16)
  })
})

describe('pieces of a torrent whose files begin at pieces', () => {
  test('are told apart, also where the first one is short', () => {
    const { log } = unconnected()
    const files = [{ length: 5 }, { length: 3 * PIECE }]
    log.wire.setShape(new Layout({ files, pieceLength: PIECE, align: true }))
    const blocks = [1, 2, 3].flatMap((piece) =>
      [0, 1, 2, 3].map((index) => ({ piece, begin: index * KIB16, length: KIB16 })),
    )
    for (const block of blocks) log.wire.data.request(block, 0)
    expect(log.wire.data.requests()).toMatchObject(blocks)
  })
})

/** What was told, as text, in order; can be waited for. */
class Log implements WireHandler {
  readonly calls: string[] = []
  readonly wire: Wire
  closedWith: IsthmusError | undefined
  sinkOf: (block: BlockRequest) => BlockSink | undefined = () => undefined
  readonly #shakeHands: boolean
  readonly #bits: Uint8Array | undefined
  #waiting: { readonly call: string; readonly from: number; readonly found: () => void }[] = []

  constructor(socket: Socket, { limits, answer = true, bits }: LogOptions = {}) {
    this.#shakeHands = answer
    this.#bits = bits
    const extensions = ['ut_metadata']
    this.wire = new Wire(socket, { handler: this, limits: createLimits(limits), extensions })
    this.wire.data.serve({
      pieceRange: (piece) => (piece < shape.pieceCount ? shape.pieceRange(piece) : undefined),
      read: async ({ start, end }) => content.slice(start, end),
    })
  }

  /** Resolves once that was told, from now on or, but for a turn, before. */
  until(call: string): Promise<void> {
    const from = call === 'turn' ? this.calls.length : 0
    return new Promise((found) => {
      this.#waiting.push({ call, from, found })
      this.#look()
    })
  }

  shakeHands(): void {
    this.wire.control.sendHandshake(infoHashSample, Buffer.alloc(20, 0x61), {})
  }

  // As swarms do it: who was called answers while it is told of the handshake.
  onHandshake(_: Handshake): void {
    this.#add('handshake')
    if (this.#shakeHands) this.shakeHands()
  }
  onOpen(): void {
    this.wire.control.presence(this.#bits, this.#bits === undefined ? 'none' : 'some')
    this.#add('open')
  }
  onClose(error: IsthmusError | undefined): void {
    this.closedWith = error
    this.#add(error === undefined ? 'close' : `close ${error.code}`)
  }
  onTurn = () => this.#add('turn')
  onChoke = () => this.#add('choke')
  onUnchoke = () => this.#add('unchoke')
  onInterested = () => this.#add('interested')
  onNotInterested = () => this.#add('not interested')
  onHave = (piece: number) => this.#add(`have ${piece}`)
  onBitfield = (bits: Uint8Array) => this.#add(`bitfield ${Buffer.from(bits).toString('hex')}`)
  onHaveAll = () => this.#add('have all')
  onHaveNone = () => this.#add('have none')
  onAllowedFast = (piece: number) => this.#add(`allowed fast ${piece}`)
  onSuggest = (piece: number) => this.#add(`suggest ${piece}`)
  onDhtPort = (port: number) => this.#add(`port ${port}`)
  onExtendedHandshake = () => this.#add('extended handshake')
  onExtension = (name: string) => this.#add(name)
  onBlockStart = (block: BlockRequest) => this.sinkOf(block)
  onBlock = (block: BlockRequest) => this.#add(`block ${nameOf(block)}`)
  onReject = (block: BlockRequest) => this.#add(`reject ${nameOf(block)}`)

  #add(call: string): void {
    this.calls.push(call)
    this.#look()
  }

  #look(): void {
    this.#waiting = this.#waiting.filter(({ call, from, found }) => {
      if (!this.calls.includes(call, from)) return true
      found()
      return false
    })
  }
}

interface LogOptions {
  readonly limits?: Partial<Limits> | undefined
  /** Whether a handshake is answered with ours. */
  readonly answer?: boolean | undefined
  readonly bits?: Uint8Array | undefined
}

/** Two ends of one connection; the first is the one that called. */
async function socketPair(host: string): Promise<[Socket, Socket]> {
  const server = createServer({ noDelay: true })
  server.listen(0, host)
  await once(server, 'listening')
  const bound = server.address()
  if (bound === null || typeof bound === 'string') throw new Error('not listening')
  const called = once(server, 'connection')
  const dialer = createConnection({ host, port: bound.port, noDelay: true })
  const [listener] = (await called) as [Socket]
  onTestFinished(() => {
    dialer.destroy()
    listener.destroy()
    server.close()
  })
  return [dialer, listener]
}

async function connectWires(host: string) {
  const [near, far] = await socketPair(host)
  const dialer = new Log(near, { answer: false, bits: Uint8Array.of(0x80) })
  const listener = new Log(far)
  for (const [socket, { wire }] of [
    [near, dialer],
    [far, listener],
  ] as const) {
    wire.setShape(shape)
    socket.on('data', (chunk) => wire.receive(chunk))
  }
  dialer.shakeHands()
  return { dialer, listener }
}

interface BareOptions {
  readonly shaped?: boolean
  readonly greeting?: Buffer
  readonly limits?: Partial<Limits>
}

/** A wire that was called by a socket which we hold ourselves. */
async function connectBare(options: BareOptions = {}): Promise<{ peer: Socket; log: Log }> {
  const { shaped = true, greeting = handshakeBytes({ fast: true }), limits } = options
  const [peer, far] = await socketPair('127.0.0.1')
  // Whoever is hung up on may be told so in any way.
  peer.on('error', () => {})
  const log = new Log(far, { limits })
  if (shaped) log.wire.setShape(shape)
  far.on('data', (chunk) => log.wire.receive(chunk))
  peer.write(greeting)
  return { peer, log }
}

/** A wire whose socket has no other end: it is fed by hand. */
function unconnected() {
  const socket = new CapturedSocket()
  onTestFinished(() => void socket.destroy())
  const log = new Log(socket)
  log.wire.setShape(shape)
  return { socket, log }
}

function blocksOf(piece: number): BlockRequest[] {
  const size = shape.pieceSize(piece)
  return Array.from({ length: Math.ceil(size / KIB16) }, (_, index) => {
    const begin = index * KIB16
    return { piece, begin, length: Math.min(KIB16, size - begin) }
  })
}

function nameOf({ piece, begin, length }: BlockRequest): string {
  return `${piece} ${begin} ${length}`
}

/** What the wire says to `peer` after its handshake. */
function collect(peer: Socket) {
  let bytes = Buffer.alloc(0)
  const ids = () => {
    const rest = bytes.subarray(68)
    let end = 0
    while (end + 4 <= rest.length && end + 4 + rest.readUInt32BE(end) <= rest.length) {
      end += 4 + rest.readUInt32BE(end)
    }
    return splitMessages(rest.subarray(0, end)).map(({ id }) => id)
  }
  const until = async (id: number, count = 1) => {
    while (ids().filter((one) => one === id).length < count) await once(peer, 'data')
  }
  peer.on('data', (chunk) => {
    bytes = Buffer.concat([bytes, chunk])
  })
  return { ids, until }
}

async function ended(peer: Socket): Promise<void> {
  peer.resume()
  if (!peer.closed) await once(peer, 'close')
}
