import fc from 'fast-check'
import { expect, test } from 'vitest'
import { mutationsOf, propertyOptions } from '../../../../test/support/property.ts'
import { handshakeBytes, message, uint32 } from '../../../../test/support/wire-messages.ts'
import { isIsthmusError } from '../errors.ts'
import { type BlockSink, type FrameHandler, FrameReader } from './frames.ts'
import { isMessageLength, MessageId } from './message-id.ts'

const MESSAGE_BYTES = 32 * 1024
const SMALL = 17 * 1024
const numbersOf = (id: number, count: number) =>
  fc
    .array(fc.nat(0xffffffff), { minLength: count, maxLength: count })
    .map((values) => message(id, ...values.map(uint32)))
const bytesOf = (minLength: number, maxLength: number) => fc.uint8Array({ minLength, maxLength })

/** Any message that BEP 3, 5, 6, 10 or 52 allows, and some of ids that nobody knows. */
const validMessage: fc.Arbitrary<Buffer> = fc.oneof(
  fc.constantFrom(0, 1, 2, 3, 14, 15).map((id) => message(id)),
  fc.constantFrom(4, 13, 17).chain((id) => numbersOf(id, 1)),
  fc.constantFrom(6, 8, 16).chain((id) => numbersOf(id, 3)),
  fc
    .tuple(fc.nat(0xffffffff), fc.nat(0xffffffff), bytesOf(1, 60))
    .map(([piece, begin, block]) => message(7, uint32(piece), uint32(begin), block)),
  bytesOf(2, 2).map((port) => message(9, port)),
  fc.tuple(fc.constantFrom(5, 20), bytesOf(1, 90)).map(([id, bytes]) => message(id, bytes)),
  fc.tuple(fc.constantFrom(10, 19, 99, 255), bytesOf(0, 20)).map(([id, b]) => message(id, b)),
  fc.constantFrom(21, 23).chain((id) => bytesOf(48, 48).map((bytes) => message(id, bytes))),
  bytesOf(80, 90).map((bytes) => message(22, bytes)),
  fc.constant(Buffer.alloc(4)),
  fc.integer({ min: 600, max: 17_000 }).map((length) => message(5, new Uint8Array(length).fill(3))),
)

const cuts = fc.array(fc.integer({ min: 1, max: 30 }), { minLength: 1, maxLength: 12 })

test('a valid stream gives the same calls wherever it is cut: those that were put in', () => {
  fc.assert(
    fc.property(fc.array(validMessage, { maxLength: 8 }), cuts, (messages, sizes) => {
      const stream = Buffer.concat([handshakeBytes(), ...messages])
      const expected = ['handshake', ...messages.flatMap(callsOf)].join('\n')
      const whole = new Contract()
      new FrameReader(whole, { messageBytes: MESSAGE_BYTES }).push(stream)
      if (whole.calls.join('\n') !== expected) throw new Error('other calls than were put in')
      if (readInParts(stream, sizes).calls.join('\n') !== expected) throw new Error('cut differs')
    }),
    propertyOptions('valid frames'),
  )
}, 120_000)

test('whatever comes, only a protocol error is thrown, and what is handed out keeps the contract', () => {
  const samples = fc.sample(fc.array(validMessage, { minLength: 1, maxLength: 5 }), {
    numRuns: 60,
    seed: 1,
  })
  const streams = samples.map((messages) => Buffer.concat([handshakeBytes(), ...messages]))
  const small = streams.filter(({ length }) => length < 600)
  const input = fc.oneof(
    { weight: 6, arbitrary: mutationsOf(small) },
    {
      weight: 3,
      arbitrary: mutationsOf(small.map((bytes) => bytes.subarray(68))).map((rest) =>
        Buffer.concat([handshakeBytes(), rest]),
      ),
    },
    { weight: 1, arbitrary: bytesOf(0, 80) },
    { weight: 1, arbitrary: bytesOf(0, 80).map((b) => Buffer.concat([handshakeBytes(), b])) },
  )
  let refused = 0
  const options = propertyOptions('mutated frames')
  fc.assert(
    fc.property(input, cuts, (stream, sizes) => {
      const whole = readInParts(stream, [stream.length || 1])
      const parts = readInParts(stream, sizes)
      if (whole.error !== undefined) refused++
      if (whole.calls.join('\n') !== parts.calls.join('\n')) throw new Error('cut differs')
      if (whole.error !== parts.error) throw new Error('refused only where it is cut')
    }),
    options,
  )
  expect(refused).toBeGreaterThan(options.numRuns / 10)
  expect(options.numRuns - refused).toBeGreaterThan(options.numRuns / 10)
}, 120_000)

/** Notes what is called, and throws where a call is not what {@link FrameHandler} promises. */
class Contract implements FrameHandler {
  readonly calls: string[] = []
  error: string | undefined
  #block: { readonly target: Uint8Array; readonly name: string } | undefined

  onHandshake({ reserved, infoHash, peerId }: Parameters<FrameHandler['onHandshake']>[0]): void {
    assert(this.calls.length === 0, 'a handshake that is not the first call')
    assert(reserved.length === 8 && infoHash.length === 20 && peerId.length === 20, 'its fields')
    this.#add('handshake')
  }

  onKeepAlive(): void {
    this.#add('keep-alive')
  }

  onMessage(id: number, payload: Uint8Array): void {
    const large = id === MessageId.bitfield || id === MessageId.extended
    assert(id !== MessageId.piece, 'a block as a message')
    assert(isMessageLength(id, 1 + payload.length), `message ${id} of ${payload.length} bytes`)
    assert(1 + payload.length <= (large ? MESSAGE_BYTES : SMALL), 'a message over its limit')
    this.#add(`${id} ${hex(payload)}`)
  }

  onBlockStart(piece: number, begin: number, length: number): BlockSink | undefined {
    assert(length > 0 && length + 9 <= SMALL, `a block of ${length} bytes`)
    this.#add(`start ${piece} ${begin} ${length}`)
    // Exactly as long, so that a byte too many throws.
    const target = new Uint8Array(length)
    this.#block = { target, name: `${piece} ${begin} ${length}` }
    return { target, offset: 0 }
  }

  onBlockEnd(piece: number, begin: number, length: number): void {
    const block = this.#block
    this.#block = undefined
    assert(block?.name === `${piece} ${begin} ${length}`, 'the end of another block')
    this.#add(`end ${piece} ${begin} ${hex(block.target)}`)
  }

  #add(call: string): void {
    assert(this.calls.length > 0 || call === 'handshake', 'a call before the handshake')
    assert(this.#block === undefined, 'a call inside of a block')
    this.calls.push(call)
  }
}

/** The chunks have the lengths `sizes`, in turn; each is overwritten once it was read. */
function readInParts(stream: Uint8Array, sizes: readonly number[]): Contract {
  const contract = new Contract()
  const reader = new FrameReader(contract, { messageBytes: MESSAGE_BYTES })
  try {
    for (let at = 0, turn = 0; at < stream.length; turn++) {
      const size = (sizes[turn % sizes.length] ?? 1) * (stream.length > 1000 ? 50 : 1)
      const chunk = Uint8Array.from(stream.subarray(at, at + size))
      reader.push(chunk)
      chunk.fill(0xee)
      at += size
    }
  } catch (error) {
    if (!isIsthmusError(error, 'ISTHMUS_WIRE_PROTOCOL')) throw error
    contract.error = error.message
  }
  return contract
}

function callsOf(bytes: Buffer): string[] {
  const id = bytes[4]
  if (id === undefined) return ['keep-alive']
  if (id !== MessageId.piece) return [`${id} ${hex(bytes.subarray(5))}`]
  const [piece, begin] = [bytes.readUInt32BE(5), bytes.readUInt32BE(9)]
  const block = bytes.subarray(13)
  return [`start ${piece} ${begin} ${block.length}`, `end ${piece} ${begin} ${hex(block)}`]
}

function assert(condition: boolean, what: string): asserts condition {
  if (!condition) throw new Error(what)
}

function hex(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('hex')
}
