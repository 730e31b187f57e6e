import { setImmediate as nextTurn } from 'node:timers/promises'
import { describe, expect, test } from 'vitest'
import { CapturedSocket } from '../../../../test/support/captured-socket.ts'
import {
  message,
  numbers,
  type SplitMessage,
  splitMessages,
  uint32,
} from '../../../../test/support/wire-messages.ts'
import type { ByteRange } from '../byte-source.ts'
import { isIsthmusError } from '../errors.ts'
import {
  type BlockHandler,
  type BlockProvider,
  type BlockRequest,
  DataPlane,
} from './data-plane.ts'
import type { BlockSink } from './frames.ts'
import { MessageId } from './message-id.ts'
import { Outbox } from './outbox.ts'

const KIB16 = 16_384
const PIECE = 4 * 1024 * 1024
const block = (piece: number, begin = 0, length = KIB16): BlockRequest => ({ piece, begin, length })

describe('what we ask for', () => {
  test('is sent, and counted until it is answered', async () => {
    const { plane, sent, handler } = open()
    expect(plane.oldestRequestAt).toBeUndefined()
    plane.request(block(1, KIB16), 100)
    plane.request(block(2), 200)
    expect(plane.outstanding).toBe(2)
    expect(plane.oldestRequestAt).toBe(100)
    expect(plane.requests()).toMatchObject([block(1, KIB16), block(2)])
    expect(await sent()).toEqual([asked(block(1, KIB16)), asked(block(2))])
    deliver(plane, block(1, KIB16), 350)
    expect(handler.calls).toEqual(['start 1 16384 16384', 'block 1 16384 16384 after 250'])
    expect(plane.outstanding).toBe(1)
    expect(plane.oldestRequestAt).toBe(200)
    expect(plane.downloaded).toBe(KIB16)
  })

  test('comes in the order of the peer', () => {
    const { plane, handler } = open()
    for (const piece of [1, 2, 3]) plane.request(block(piece), 0)
    for (const piece of [3, 1, 2]) deliver(plane, block(piece), 0)
    expect(handler.blocks).toEqual(['3 0 16384', '1 0 16384', '2 0 16384'])
    expect(plane.outstanding).toBe(0)
  })

  test('goes where the handler says', () => {
    const { plane, handler } = open()
    const sink: BlockSink = { target: new Uint8Array(KIB16), offset: 0 }
    handler.sinkOf = () => sink
    plane.request(block(1), 0)
    expect(plane.onBlockStart(1, 0, KIB16)).toBe(sink)
  })

  test('is not answered by a block of another length, beginning or piece', () => {
    const { plane, handler } = open()
    plane.request(block(1, KIB16), 0)
    const others = [block(1, KIB16, 16_383), block(1, KIB16 + 1), block(1, 0), block(2, KIB16)]
    others.push(block(1, 2 * KIB16 - 1), block(0, KIB16 + PIECE))
    for (const other of others) expect(deliver(plane, other)).toBeUndefined()
    expect(handler.calls).toEqual([])
    expect(plane.outstanding).toBe(1)
    deliver(plane, block(1, KIB16))
    expect(handler.blocks).toEqual(['1 16384 16384'])
  })

  test('is told apart in pieces of every length', () => {
    for (const pieceLength of [16_384, 20_000, PIECE, 512 * 1024 * 1024]) {
      const { plane, handler } = open()
      plane.setPieceLength(pieceLength)
      const last = Math.floor((pieceLength - 1) / KIB16) * KIB16
      const all = [block(0, last), block(1, 0), block(1, last), block(2, 0)]
      const unlike = all.filter((one, at) => at === 0 || one.begin !== all[at - 1]?.begin)
      for (const one of unlike) plane.request(one, 0)
      expect(plane.outstanding).toBe(unlike.length)
      for (const one of unlike) deliver(plane, one)
      expect(handler.blocks).toHaveLength(unlike.length)
    }
  })
})

describe('a cancel', () => {
  test('is sent, and the block that comes all the same is dropped', async () => {
    const { plane, sent, handler } = open()
    plane.request(block(1), 0)
    plane.cancel(block(1))
    expect(plane.outstanding).toBe(0)
    expect(await sent()).toEqual([asked(block(1)), { ...asked(block(1)), id: MessageId.cancel }])
    expect(deliver(plane, block(1))).toBeUndefined()
    expect(handler.calls).toEqual([])
  })

  test('of what was not asked for is not sent', async () => {
    const { plane, sent } = open()
    plane.request(block(1), 0)
    plane.cancel(block(2))
    plane.cancel(block(1, KIB16))
    expect(await sent()).toEqual([asked(block(1))])
    expect(plane.outstanding).toBe(1)
  })

  test('while the block arrives keeps it from the handler', () => {
    const { plane, handler } = open()
    plane.request(block(1), 0)
    plane.onBlockStart(1, 0, KIB16)
    plane.cancel(block(1))
    plane.onBlockEnd(1, 0, KIB16, 0)
    expect(handler.blocks).toEqual([])
  })

  test('taken back while the block arrives waits for the next answer', () => {
    const { plane, handler } = open()
    plane.request(block(1), 0)
    plane.onBlockStart(1, 0, KIB16)
    plane.cancel(block(1))
    plane.request(block(1), 10)
    plane.onBlockEnd(1, 0, KIB16, 20)
    expect(handler.blocks).toEqual([])
    expect(plane.outstanding).toBe(1)
    deliver(plane, block(1), 30)
    expect(handler.calls.at(-1)).toBe('block 1 0 16384 after 20')
  })

  test('makes no flood of the blocks that crossed it', () => {
    const { plane } = open()
    for (let piece = 0; piece < 300; piece++) plane.request(block(piece), 0)
    for (let piece = 0; piece < 300; piece++) plane.cancel(block(piece))
    for (let piece = 0; piece < 300; piece++) deliver(plane, block(piece))
    expect(plane.downloaded).toBe(300 * KIB16)
  })
})

describe('blocks that nobody asked for', () => {
  test('are dropped, and a flood of them ends the connection', () => {
    const { plane, handler } = open()
    for (let turn = 0; turn < 100; turn++) expect(deliver(plane, block(turn))).toBeUndefined()
    expectBroken(() => plane.onBlockStart(100, 0, KIB16))
    expect(handler.calls).toEqual([])
  })

  test('are dropped to their end, also where they are asked for meanwhile', () => {
    const { plane, handler } = open()
    expect(plane.onBlockStart(1, 0, KIB16)).toBeUndefined()
    plane.request(block(1), 0)
    plane.onBlockEnd(1, 0, KIB16, 0)
    expect(handler.calls).toEqual([])
    expect(plane.outstanding).toBe(1)
  })

  test('are blocks that were answered before', () => {
    const { plane, handler } = open()
    plane.request(block(1), 0)
    deliver(plane, block(1))
    expect(deliver(plane, block(1))).toBeUndefined()
    expect(handler.blocks).toHaveLength(1)
  })
})

describe('a reject', () => {
  test('gives the block back, once', () => {
    const { plane, handler } = open()
    plane.request(block(1), 0)
    plane.onReject(payload(block(1)))
    plane.onReject(payload(block(1)))
    expect(handler.calls).toEqual(['reject 1 0 16384'])
    expect(plane.outstanding).toBe(0)
  })

  test('of what was not asked for is nothing', () => {
    const { plane, handler } = open()
    plane.request(block(1), 0)
    for (const other of [block(2), block(1, 5), block(1, 0, 5)]) plane.onReject(payload(other))
    expect(handler.calls).toEqual([])
    expect(plane.outstanding).toBe(1)
  })

  test('of a block that was cancelled says nothing about a later request for it', () => {
    const { plane, handler } = open()
    plane.request(block(1), 0)
    plane.cancel(block(1))
    plane.request(block(1), 10)
    plane.onReject(payload(block(1)))
    expect(handler.calls).toEqual([])
    expect(plane.outstanding).toBe(1)
    plane.onReject(payload(block(1)))
    expect(handler.calls).toEqual(['reject 1 0 16384'])
  })

  test('of everything is a choke without the fast extension', () => {
    const { plane, handler } = open()
    plane.request(block(1), 0)
    plane.request(block(2), 0)
    plane.dropRequests()
    expect(handler.calls).toEqual(['reject 1 0 16384', 'reject 2 0 16384'])
    expect(plane.outstanding).toBe(0)
  })

  test('finds the block taken back already when the handler asks again', () => {
    const { plane, handler } = open()
    handler.onReject = (one) => plane.request(one, 7)
    plane.request(block(1), 0)
    plane.onReject(payload(block(1)))
    expect(plane.oldestRequestAt).toBe(7)
    plane.dropRequests()
    expect(plane.outstanding).toBe(1)
  })
})

describe('what the peer asks for', () => {
  test('is answered with the right bytes, and counted', async () => {
    const { plane, sent } = serving()
    plane.onRequest(payload(block(2, KIB16)))
    expect(await sent()).toEqual([answered(block(2, KIB16))])
    expect(plane.uploaded).toBe(KIB16)
  })

  test.each([1, 100, KIB16, 2 * KIB16])('is served in %i bytes', async (length) => {
    const { plane, sent } = serving()
    plane.onRequest(payload(block(0, 3, length)))
    expect(await sent()).toEqual([answered(block(0, 3, length))])
  })

  test.each([0, 2 * KIB16 + 1, 2 ** 17, 2 ** 32 - 1])(
    'in %i bytes ends the connection',
    async (length) => {
      for (const choking of [true, false]) {
        const { plane, sent, provider } = serving({ choking })
        expectBroken(() => plane.onRequest(payload(block(0, 0, length))))
        expect(await sent()).toEqual([])
        expect(provider.reads).toEqual([])
      }
    },
  )

  test('while it is choked is rejected', async () => {
    const { plane, sent, provider } = serving({ choking: true })
    plane.onRequest(payload(block(1)))
    expect(await sent()).toEqual([rejected(block(1))])
    expect(provider.reads).toEqual([])
  })

  test('before there is anything to serve is rejected', async () => {
    const { plane, sent } = open()
    plane.setChoking(false)
    plane.onRequest(payload(block(1)))
    expect(await sent()).toEqual([rejected(block(1))])
  })

  test('of a piece that is not there, or behind its end, is rejected', async () => {
    const { plane, sent } = serving()
    const wrong = [block(9), block(0, PIECE), block(0, PIECE - KIB16 + 1), block(0, 2 ** 32 - 1, 1)]
    for (const one of wrong) plane.onRequest(payload(one))
    expect(await sent()).toEqual(wrong.map(rejected))
  })

  test('without the fast extension is never rejected, only not answered', async () => {
    const { plane, sent } = serving({ fast: false })
    plane.onRequest(payload(block(9)))
    plane.setChoking(true)
    plane.onRequest(payload(block(1)))
    expect(await sent()).toEqual([])
  })

  test('over its limit is rejected, the rest is served', async () => {
    const { plane, sent } = serving({ requestsAtMost: 5 })
    const all = Array.from({ length: 8 }, (_, index) => block(0, index * KIB16))
    for (const one of all) plane.onRequest(payload(one))
    const before = await sent()
    expect(before.slice(0, 3)).toEqual(all.slice(5).map(rejected))
    expect(before.slice(3)).toEqual(all.slice(0, 5).map(answered))
    plane.onRequest(payload(block(1)))
    expect((await sent()).at(-1)).toEqual(answered(block(1)))
  })

  test('and is lost by the storage is rejected', async () => {
    const { plane, sent, provider } = serving()
    provider.fail = true
    plane.onRequest(payload(block(1)))
    plane.onRequest(payload(block(1, KIB16)))
    expect(await sent()).toEqual([rejected(block(1)), rejected(block(1, KIB16))])
    provider.fail = false
    plane.onRequest(payload(block(1)))
    expect((await sent()).at(-1)).toEqual(answered(block(1)))
  })

  test('and is gone when its turn comes is rejected', async () => {
    const { plane, sent, provider } = serving()
    plane.onRequest(payload(block(1)))
    provider.missing.add(1)
    expect(await sent()).toEqual([rejected(block(1))])
    expect(provider.reads).toEqual([])
  })

  test('of a provider that breaks is rejected', async () => {
    const { plane, sent, provider } = serving()
    plane.onRequest(payload(block(1)))
    provider.pieceRange = () => {
      throw new RangeError('no such piece')
    }
    expect(await sent()).toEqual([rejected(block(1))])
  })
})

describe('requests that follow one another', () => {
  test('are one read', async () => {
    const { plane, sent, provider } = serving()
    const run = Array.from({ length: 16 }, (_, index) => block(1, index * KIB16))
    for (const one of run) plane.onRequest(payload(one))
    expect(await sent()).toEqual(run.map(answered))
    expect(provider.reads).toEqual([{ start: PIECE, end: PIECE + 256 * 1024 }])
  })

  test('are one read of 256 KiB at most', async () => {
    const { plane, sent, provider } = serving()
    const run = Array.from({ length: 40 }, (_, index) => block(1, index * KIB16))
    for (const one of run) plane.onRequest(payload(one))
    expect(await sent(20)).toEqual(run.map(answered))
    expect(provider.reads.map(({ start, end }) => end - start)).toEqual([262_144, 262_144, 131_072])
  })

  test('with a gap, in another order or in another piece are reads of their own', async () => {
    const { plane, sent, provider } = serving()
    const wanted = [
      block(0, 2 * KIB16),
      block(0, 0),
      block(0, KIB16),
      block(0, 3 * KIB16),
      block(1, 0),
      block(2, KIB16),
    ]
    for (const one of wanted) plane.onRequest(payload(one))
    expect(await sent(20)).toEqual(wanted.map(answered))
    expect(provider.reads).toHaveLength(5)
  })

  test('are read one run after the other', async () => {
    const { plane, sent, provider } = serving()
    provider.hold()
    plane.onRequest(payload(block(0)))
    plane.onRequest(payload(block(2)))
    expect(await sent()).toEqual([])
    expect(provider.reads).toHaveLength(1)
    provider.release()
    expect(await sent()).toEqual([answered(block(0)), answered(block(2))])
  })
})

describe('what waits for the peer to read', () => {
  test('stops reading at its limit, and goes on when it is pumped', async () => {
    const { plane, socket, sent, provider } = serving({ sendBytesAtMost: 300_000 })
    socket.hold()
    const all = Array.from({ length: 64 }, (_, index) => block(1, index * KIB16))
    for (const one of all) plane.onRequest(payload(one))
    await turns(20)
    expect(provider.reads).toHaveLength(2)
    plane.pump()
    await turns(5)
    expect(provider.reads).toHaveLength(2)
    socket.on('drain', () => plane.pump())
    socket.release()
    expect(await sent(20)).toEqual(all.map(answered))
    expect(provider.reads).toHaveLength(4)
  })

  test('grows by no flood of requests, whatever they are answered with', async () => {
    const floods = [
      { choking: true, flood: (plane: DataPlane) => plane.onRequest(payload(block(1))) },
      {
        choking: false,
        flood: (plane: DataPlane) => {
          plane.onRequest(payload(block(1)))
          plane.onCancel(payload(block(1)))
        },
      },
    ]
    for (const { choking, flood } of floods) {
      const { plane, socket, outbox } = serving({ choking, sendBytesAtMost: 100_000 })
      socket.hold()
      expectBroken(() => {
        for (let turn = 0; turn < 200_000; turn++) flood(plane)
      })
      expect(outbox.pendingBytes).toBeLessThan(1_300_000)
      outbox.close()
    }
  })

  test('takes in what an honest peer may have under way when it is choked', async () => {
    const { plane, socket, sent } = serving({ sendBytesAtMost: 300_000 })
    socket.hold()
    const all = Array.from({ length: 100 }, (_, index) => block(1, index * KIB16))
    for (const one of all) plane.onRequest(payload(one))
    await turns(20)
    plane.setChoking(true)
    for (let turn = 0; turn < 500; turn++) plane.onRequest(payload(block(2)))
    socket.release()
    const ids = (await sent()).map(({ id }) => id)
    expect(ids.filter((id) => id === MessageId.piece)).toHaveLength(32)
    expect(ids.filter((id) => id === MessageId.reject)).toHaveLength(68 + 500)
  })
})

describe('a request that waits', () => {
  const waiting = async (options: ServingOptions = {}) => {
    const open = serving(options)
    open.provider.hold()
    open.plane.onRequest(payload(block(0)))
    await turns(3)
    return open
  }

  test('is taken back by a cancel of exactly that block', async () => {
    const { plane, provider, sent } = await waiting()
    const halves = [block(1, 0, 8192), block(1, 8192, 8192)]
    for (const one of [...halves, block(2)]) plane.onRequest(payload(one))
    for (const other of [block(3), block(2, 0, 5), block(2, 5)]) plane.onCancel(payload(other))
    plane.onCancel(payload(block(1, 8192, 8192)))
    plane.onCancel(payload(block(1, 8192, 8192)))
    expect(await sent()).toEqual([rejected(block(1, 8192, 8192))])
    provider.release()
    const rest = [block(0), block(1, 0, 8192), block(2)]
    expect((await sent(20)).slice(1)).toEqual(rest.map(answered))
  })

  test('is not answered to a peer without the fast extension once it was cancelled', async () => {
    const { plane, provider, sent } = await waiting({ fast: false })
    plane.onRequest(payload(block(1)))
    plane.onCancel(payload(block(1)))
    provider.release()
    expect(await sent()).toEqual([answered(block(0))])
  })

  test('is rejected on a choke, and so is what is being read', async () => {
    const { plane, provider, sent } = await waiting()
    plane.onRequest(payload(block(1)))
    plane.setChoking(true)
    expect(await sent()).toEqual([rejected(block(1))])
    provider.release()
    expect(await sent()).toEqual([rejected(block(1)), rejected(block(0))])
    expect(plane.uploaded).toBe(0)
  })

  test.each([true, false])(
    'is given up on a choke, also when an unchoke follows before the read is done (fast: %s)',
    async (fast) => {
      const { plane, provider, sent } = await waiting({ fast })
      plane.onRequest(payload(block(1)))
      plane.setChoking(true)
      plane.setChoking(false)
      provider.release()
      const given = fast ? [rejected(block(1)), rejected(block(0))] : []
      expect(await sent()).toEqual(given)
      plane.onRequest(payload(block(0)))
      expect(await sent()).toEqual([...given, answered(block(0))])
    },
  )

  test('is nothing any more after close, and neither is what is being read', async () => {
    const { plane, provider, sent } = await waiting()
    plane.onRequest(payload(block(1)))
    plane.request(block(5), 0)
    const before = await sent()
    plane.close()
    provider.release()
    await turns(5)
    plane.pump()
    expect(await sent()).toEqual(before)
    expect(provider.reads).toHaveLength(1)
    expect(plane.outstanding).toBe(0)
  })

  test('is nothing any more when the read that is under way fails after close', async () => {
    const { plane, provider, sent } = await waiting()
    plane.close()
    provider.fail = true
    provider.release()
    expect(await sent()).toEqual([])
  })
})

interface ServingOptions {
  readonly choking?: boolean
  readonly fast?: boolean
  readonly requestsAtMost?: number
  readonly sendBytesAtMost?: number
}

function open(options: ServingOptions = {}) {
  const { fast = true, requestsAtMost = 500, sendBytesAtMost = 1024 * 1024 } = options
  const socket = new CapturedSocket()
  const outbox = new Outbox(socket)
  const handler = new Handler()
  const hasFast = () => fast
  const plane = new DataPlane({ outbox, handler, requestsAtMost, sendBytesAtMost, hasFast })
  plane.setPieceLength(PIECE)
  /** All that was sent so far, after `count` turns of the event loop. */
  const sent = async (count = 6) => {
    await turns(count)
    return splitMessages(socket.bytes)
  }
  return { plane, outbox, socket, handler, sent }
}

/** With three pieces to be had, and the peer unchoked. */
function serving(options: ServingOptions = {}) {
  const opened = open(options)
  const provider = new Provider()
  opened.plane.serve(provider)
  opened.plane.setChoking(options.choking ?? false)
  return { ...opened, provider }
}

class Handler implements BlockHandler {
  readonly calls: string[] = []
  readonly blocks: string[] = []
  sinkOf: () => BlockSink | undefined = () => undefined

  onBlockStart(one: BlockRequest): BlockSink | undefined {
    this.calls.push(`start ${name(one)}`)
    return this.sinkOf()
  }

  onBlock(one: BlockRequest, waitedMs: number): void {
    this.calls.push(`block ${name(one)} after ${waitedMs}`)
    this.blocks.push(name(one))
  }

  onReject(one: BlockRequest): void {
    this.calls.push(`reject ${name(one)}`)
  }
}

class Provider implements BlockProvider {
  readonly reads: ByteRange[] = []
  readonly missing = new Set<number>()
  fail = false
  #held: Promise<void> | undefined
  #release = () => {}

  pieceRange(piece: number): ByteRange | undefined {
    if (piece > 2 || this.missing.has(piece)) return undefined
    return { start: piece * PIECE, end: (piece + 1) * PIECE }
  }

  async read(span: ByteRange): Promise<Uint8Array> {
    this.reads.push(span)
    await this.#held
    if (this.fail) throw new Error('lost')
    return content(span)
  }

  hold(): void {
    this.#held = new Promise((resolve) => {
      this.#release = resolve
    })
  }

  release(): void {
    this.#held = undefined
    this.#release()
  }
}

function content({ start, end }: ByteRange): Uint8Array {
  return Uint8Array.from({ length: end - start }, (_, index) => ((start + index) * 31) % 253)
}

function name({ piece, begin, length }: BlockRequest): string {
  return `${piece} ${begin} ${length}`
}

function payload({ piece, begin, length }: BlockRequest): Uint8Array {
  return Buffer.concat([piece, begin, length].map(uint32))
}

function deliver(plane: DataPlane, one: BlockRequest, now = 0): BlockSink | undefined {
  const sink = plane.onBlockStart(one.piece, one.begin, one.length)
  plane.onBlockEnd(one.piece, one.begin, one.length, now)
  return sink
}

function asked({ piece, begin, length }: BlockRequest): SplitMessage {
  return single(numbers(MessageId.request, piece, begin, length))
}

function rejected({ piece, begin, length }: BlockRequest): SplitMessage {
  return single(numbers(MessageId.reject, piece, begin, length))
}

function answered({ piece, begin, length }: BlockRequest): SplitMessage {
  const start = piece * PIECE + begin
  const bytes = content({ start, end: start + length })
  return single(message(MessageId.piece, uint32(piece), uint32(begin), bytes))
}

function single(bytes: Buffer): SplitMessage {
  const [first] = splitMessages(bytes)
  if (first === undefined) throw new Error('no message')
  return first
}

async function turns(count: number): Promise<void> {
  for (let turn = 0; turn < count; turn++) await nextTurn()
}

function expectBroken(run: () => void): void {
  let thrown: unknown
  try {
    run()
  } catch (error) {
    thrown = error
  }
  expect(isIsthmusError(thrown, 'ISTHMUS_WIRE_PROTOCOL')).toBe(true)
}
