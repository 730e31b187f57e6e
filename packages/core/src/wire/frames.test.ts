import { setImmediate as nextTurn } from 'node:timers/promises'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { describe, expect, test } from 'vitest'
import {
  handshakeBytes,
  infoHashSample,
  message,
  numbers,
  peerIdSample,
  uint32,
} from '../../../../test/support/wire-messages.ts'
import { isIsthmusError } from '../errors.ts'
import { type BlockSink, type FrameHandler, FrameReader, readUint32 } from './frames.ts'
import { MessageId } from './message-id.ts'

const MIB = 1024 * 1024
const SMALL = 17 * 1024
const limits = { messageBytes: MIB }
const pieceHead = (length: number, piece: number, begin: number) =>
  Buffer.concat([uint32(9 + length), Buffer.of(MessageId.piece), uint32(piece), uint32(begin)])

describe('the handshake', () => {
  test('is read in one piece, byte by byte, and in any two parts', () => {
    const bytes = handshakeBytes({ reserved: Buffer.from('0123456789abcdef', 'hex') })
    const whole = new Uint8Array(bytes)
    const splits = [[whole], [...whole].map((byte) => Uint8Array.of(byte))]
    for (let at = 1; at < 68; at++) splits.push([whole.subarray(0, at), whole.subarray(at)])
    const expected = `handshake 0123456789abcdef ${hex(infoHashSample)} ${hex(peerIdSample)}`
    for (const chunks of splits) {
      const log = new Log()
      const reader = new FrameReader(log, limits)
      for (const chunk of chunks) reader.push(chunk)
      expect(log.calls).toEqual([expected])
    }
  })

  test('of another protocol is refused at the first wrong byte', () => {
    for (let index = 0; index < 20; index++) {
      const bytes = handshakeBytes()
      bytes[index] = (bytes[index] ?? 0) ^ 1
      const reader = new FrameReader(new Log(), limits)
      reader.push(bytes.subarray(0, index))
      expectBroken(() => reader.push(bytes.subarray(index, index + 1)))
    }
  })

  test('comes once: the next one is a message too long', () => {
    const { reader } = open()
    expectBroken(() => reader.push(handshakeBytes()))
  })

  test('comes first: a message in its place is refused', () => {
    const log = new Log()
    const reader = new FrameReader(log, limits)
    expectBroken(() => reader.push(message(MessageId.unchoke)))
    expect(log.calls).toEqual([])
  })

  test('may have messages in the same chunk', () => {
    const log = new Log()
    new FrameReader(log, limits).push(
      Buffer.concat([handshakeBytes(), numbers(4, 9), uint32(0), message(1)]),
    )
    expect(log.calls.slice(1)).toEqual(['4 00000009', 'keep-alive', '1 '])
  })
})

describe('a length', () => {
  const small = [0, 1, 2, 3, 4, 6, 7, 8, 9, 10, 13, 14, 15, 16, 17, 19, 21, 22, 23, 255]

  test('over 1 MiB is refused before the id is there', () => {
    for (const length of [MIB + 1, 2 ** 31 - 1, 2 ** 31, 2 ** 32 - 1]) {
      const { reader } = open()
      expectBroken(() => reader.push(uint32(length)))
    }
  })

  test('of 1 MiB is taken for a bitfield and an extended message', () => {
    for (const id of [MessageId.bitfield, MessageId.extended]) {
      const { reader, log } = open()
      reader.push(message(id, new Uint8Array(MIB - 1)))
      expect(log.lengths).toEqual([MIB - 1])
      expectBroken(() => reader.push(Buffer.concat([uint32(MIB + 1), Buffer.of(id)])))
    }
  })

  test.each(small)('over 17 KiB is refused for message %i as soon as its id is there', (id) => {
    for (const split of [0, 2, 4]) {
      const { reader } = open()
      const head = Buffer.concat([uint32(SMALL + 1), Buffer.of(id)])
      reader.push(head.subarray(0, split))
      expectBroken(() => reader.push(head.subarray(split)))
    }
  })

  test('of 17 KiB is taken for an unknown message', () => {
    const { reader, log } = open()
    reader.push(message(99, new Uint8Array(SMALL - 1)))
    expect(log.lengths).toEqual([SMALL - 1])
  })

  test('that its message cannot have is refused before its payload', () => {
    const wrong = [
      [MessageId.choke, 2],
      [MessageId.have, 4],
      [MessageId.have, 6],
      [MessageId.bitfield, 1],
      [MessageId.request, 12],
      [MessageId.request, 14],
      [MessageId.piece, 9],
      [MessageId.cancel, 17],
      [MessageId.port, 2],
      [MessageId.haveAll, 5],
      [MessageId.reject, 1],
      [MessageId.extended, 1],
      [MessageId.hashes, 80],
    ] as const
    for (const [id, length] of wrong) {
      for (const split of [0, 1, 4]) {
        const { reader, log } = open()
        const head = Buffer.concat([uint32(length), Buffer.of(id)])
        reader.push(head.subarray(0, split))
        expectBroken(() => reader.push(head.subarray(split)))
        expect(log.calls).toEqual([])
      }
    }
  })

  test('is judged alike wherever the stream is cut, also under a limit below 17 KiB', () => {
    const bytes = Buffer.concat([
      message(7, uint32(1), uint32(0), new Uint8Array(2000)),
      message(99, new Uint8Array(1500)),
      message(MessageId.bitfield, new Uint8Array(999)),
    ])
    const expected = ['start 1 0 2000', 'end 1 0 2000', `99 ${'00'.repeat(1500)}`]
    for (const size of [1, 3, 4, 5, 100, bytes.length]) {
      const { reader, log } = open({ messageBytes: 1000 })
      for (let at = 0; at < bytes.length; at += size) reader.push(bytes.subarray(at, at + size))
      expect(log.calls).toEqual([...expected, `5 ${'00'.repeat(999)}`])
      expectBroken(() => reader.push(message(MessageId.bitfield, new Uint8Array(1000))))
    }
  })
})

describe('messages', () => {
  test('of unknown ids are handed out', () => {
    const { reader, log } = open()
    reader.push(Buffer.concat([message(10, Buffer.of(1, 2)), message(255)]))
    expect(log.calls).toEqual(['10 0102', '255 '])
  })

  test('without bytes keep alive', () => {
    const { reader, log } = open()
    for (const byte of new Uint8Array(8)) reader.push(Uint8Array.of(byte))
    reader.push(new Uint8Array(12))
    expect(log.calls).toEqual(new Array(5).fill('keep-alive'))
  })

  test('that were claimed but did not come cost nothing', () => {
    const readers: FrameReader[] = []
    const before = process.memoryUsage().arrayBuffers
    const claim = Buffer.concat([uint32(MIB), Buffer.of(MessageId.bitfield), new Uint8Array(200)])
    for (let index = 0; index < 200; index++) {
      const { reader } = open()
      reader.push(claim.subarray(0, 3))
      reader.push(claim.subarray(3))
      readers.push(reader)
    }
    expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(2 * MIB)
    expect(readers).toHaveLength(200)
  })

  test('that were long leave nothing behind', async () => {
    const readers: FrameReader[] = []
    collectGarbage()
    const before = process.memoryUsage().arrayBuffers
    const bytes = message(MessageId.bitfield, new Uint8Array(MIB - 1))
    for (let index = 0; index < 32; index++) {
      const { reader, log } = open()
      for (let at = 0; at < bytes.length; at += 65_000) reader.push(bytes.subarray(at, at + 65_000))
      expect(log.lengths).toEqual([MIB - 1])
      log.calls.length = 0
      readers.push(reader)
    }
    const held = () => process.memoryUsage().arrayBuffers - before
    // Some engines free buffers a while after the collection that found them.
    for (let tries = 0; tries < 100 && held() >= 8 * MIB; tries++) {
      collectGarbage()
      await new Promise((resolve) => setImmediate(resolve))
    }
    expect(held()).toBeLessThan(8 * MIB)
    expect(readers).toHaveLength(32)
  })
})

describe('a block', () => {
  test('goes where its sink says, and nowhere else', () => {
    const block = Uint8Array.from({ length: 100 }, (_, index) => index + 1)
    const bytes = message(7, uint32(3), uint32(16_384), block)
    for (let size = 1; size <= bytes.length; size++) {
      const target = new Uint8Array(120)
      const { reader, log } = open(limits, () => ({ target, offset: 10 }))
      for (let at = 0; at < bytes.length; at += size) reader.push(bytes.subarray(at, at + size))
      expect(log.calls).toEqual(['start 3 16384 100', 'end 3 16384 100'])
      expect(hex(target)).toBe(`${'00'.repeat(10)}${hex(block)}${'00'.repeat(10)}`)
    }
  })

  test('that nobody wants is read over', () => {
    const { reader, log } = open()
    reader.push(Buffer.concat([message(7, uint32(1), uint32(2), new Uint8Array(50)), message(0)]))
    expect(log.calls).toEqual(['start 1 2 50', 'end 1 2 50', '0 '])
  })

  test('that is cancelled midway is read over from there on', () => {
    const target = new Uint8Array(8)
    const sink: BlockSink = { target, offset: 0 }
    const { reader, log } = open(limits, () => sink)
    const bytes = message(7, uint32(1), uint32(0), new Uint8Array(8).fill(9))
    reader.push(bytes.subarray(0, bytes.length - 5))
    sink.target = undefined
    reader.push(bytes.subarray(bytes.length - 5))
    reader.push(message(1))
    expect([...target]).toEqual([9, 9, 9, 0, 0, 0, 0, 0])
    expect(log.calls).toEqual(['start 1 0 8', 'end 1 0 8', '1 '])
  })

  test('does not end up in the sink of the one before', () => {
    const target = new Uint8Array(4)
    const sinks: BlockSink[] = [{ target, offset: 0 }]
    const { reader } = open(limits, () => sinks.shift())
    reader.push(message(7, uint32(1), uint32(0), Buffer.of(1, 2, 3, 4)))
    reader.push(message(7, uint32(1), uint32(4), Buffer.of(5, 6, 7, 8)))
    expect([...target]).toEqual([1, 2, 3, 4])
  })

  test('is let go of when it is complete, and when the reader ends', async () => {
    const sinks: WeakRef<BlockSink>[] = []
    const readers = [8, 5].map((sent) => {
      const { reader } = open(limits, () => {
        const sink = { target: new Uint8Array(8), offset: 0 }
        sinks.push(new WeakRef(sink))
        return sink
      })
      reader.push(pieceHead(8, 0, 0))
      reader.push(new Uint8Array(sent))
      return reader
    })
    readers[1]?.end()
    // What a weak reference was made of stays until its turn is over.
    await nextTurn()
    collectGarbage()
    expect(sinks.map((sink) => sink.deref())).toEqual([undefined, undefined])
    readers[0]?.push(message(1))
  })

  test('of 17 KiB less its header is taken, a byte more is not', () => {
    const { reader, log } = open()
    const most = SMALL - 9
    reader.push(Buffer.concat([pieceHead(most, 0, 0), new Uint8Array(most)]))
    expect(log.calls).toEqual([`start 0 0 ${most}`, `end 0 0 ${most}`])
    expectBroken(() => reader.push(pieceHead(most + 1, 0, 0)))
  })

  test('that the handler refuses breaks the stream', () => {
    const { reader, log } = open(limits, () => {
      throw new RangeError('no')
    })
    expect(() => reader.push(pieceHead(1, 0, 0))).toThrow(RangeError)
    expect(log.calls).toEqual(['start 0 0 1'])
  })

  test('has numbers without a sign', () => {
    const { reader, log } = open()
    reader.push(pieceHead(1, 0xffffffff, 0x80000000))
    expect(log.calls).toEqual(['start 4294967295 2147483648 1'])
    expect(readUint32(Buffer.from('fffffffefffefdfc', 'hex'), 4)).toBe(0xfffefdfc)
  })
})

describe('after the end', () => {
  const all = Buffer.concat([
    handshakeBytes(),
    message(1),
    uint32(0),
    message(7, uint32(1), uint32(0), new Uint8Array(8)),
    message(0),
  ])

  test.each(['handshake', '1 ', 'keep-alive', 'start', 'end'])(
    'in the call %s nothing more is handed out, also of the same chunk',
    (last) => {
      for (const size of [1, all.length]) {
        const log = new Log()
        const reader = new FrameReader(log, limits)
        log.onCall = (call) => {
          if (call.startsWith(last)) reader.end()
        }
        for (let at = 0; at < all.length; at += size) reader.push(all.subarray(at, at + size))
        expect(log.calls.at(-1)?.startsWith(last)).toBe(true)
        expect(log.calls).toHaveLength(log.calls.findIndex((call) => call.startsWith(last)) + 1)
      }
    },
  )

  test('a block that was arriving is left alone', () => {
    const target = new Uint8Array(8)
    const { reader } = open(limits, () => ({ target, offset: 0 }))
    reader.push(pieceHead(8, 0, 0))
    reader.push(Buffer.of(1, 2))
    reader.end()
    reader.push(Buffer.of(3, 4))
    expect([...target]).toEqual([1, 2, 0, 0, 0, 0, 0, 0])
  })
})

/** What was called, as text. */
class Log implements FrameHandler {
  readonly calls: string[] = []
  readonly lengths: number[] = []
  onCall: (call: string) => void = () => {}
  readonly #sinkOf: () => BlockSink | undefined

  constructor(sinkOf: () => BlockSink | undefined = () => undefined) {
    this.#sinkOf = sinkOf
  }

  onHandshake({ reserved, infoHash, peerId }: Parameters<FrameHandler['onHandshake']>[0]): void {
    this.#add(`handshake ${hex(reserved)} ${hex(infoHash)} ${hex(peerId)}`)
  }

  onKeepAlive(): void {
    this.#add('keep-alive')
  }

  onMessage(id: number, payload: Uint8Array): void {
    this.lengths.push(payload.length)
    this.#add(`${id} ${hex(payload)}`)
  }

  onBlockStart(piece: number, begin: number, length: number): BlockSink | undefined {
    this.#add(`start ${piece} ${begin} ${length}`)
    return this.#sinkOf()
  }

  onBlockEnd(piece: number, begin: number, length: number): void {
    this.#add(`end ${piece} ${begin} ${length}`)
  }

  #add(call: string): void {
    this.calls.push(call)
    this.onCall(call)
  }
}

/** Past the handshake, which is no longer in the log. */
function open(of = limits, sinkOf?: () => BlockSink | undefined) {
  const log = new Log(sinkOf)
  const reader = new FrameReader(log, of)
  reader.push(handshakeBytes())
  log.calls.length = 0
  return { reader, log }
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

function hex(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('hex')
}

function collectGarbage(): void {
  setFlagsFromString('--expose-gc')
  const collect: () => void = runInNewContext('gc')
  collect()
}
