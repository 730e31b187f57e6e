import { setImmediate as nextTurn } from 'node:timers/promises'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { CapturedSocket } from '../../../../test/support/captured-socket.ts'
import { propertyOptions } from '../../../../test/support/property.ts'
import { message, numbers, uint32 } from '../../../../test/support/wire-messages.ts'
import { MessageId } from './message-id.ts'
import { Outbox } from './outbox.ts'

const block = (length: number, fill = 7) => new Uint8Array(length).fill(fill)
const pieceMessage = (piece: number, begin: number, bytes: Uint8Array) =>
  message(MessageId.piece, uint32(piece), uint32(begin), bytes)

describe('what leaves', () => {
  test('keeps its order between small messages, numbers, large messages and blocks', async () => {
    const { socket, outbox } = open()
    const small = message(MessageId.unchoke)
    const large = message(MessageId.bitfield, block(5000, 3))
    outbox.push(small)
    outbox.pushNumbers(MessageId.request, 1, 16_384, 16_384)
    outbox.push(large)
    outbox.push(small)
    outbox.pushBlock(2, 32_768, block(16_384, 9))
    outbox.pushNumbers(MessageId.reject, 0xffffffff, 0xfffffffe, 0xfffffffd)
    outbox.pushBlock(3, 0, block(1, 1))
    outbox.push(small)
    await nextTurn()
    expect(socket.bytes).toEqual(
      Buffer.concat([
        small,
        numbers(MessageId.request, 1, 16_384, 16_384),
        large,
        small,
        pieceMessage(2, 32_768, block(16_384, 9)),
        numbers(MessageId.reject, 0xffffffff, 0xfffffffe, 0xfffffffd),
        pieceMessage(3, 0, block(1, 1)),
        small,
      ]),
    )
  })

  test('in one turn is one write', async () => {
    const { socket, outbox } = open()
    for (let index = 0; index < 1000; index++) outbox.pushNumbers(MessageId.request, index, 0, 1)
    outbox.pushBlock(0, 0, block(16_384))
    outbox.pushBlock(0, 16_384, block(16_384))
    expect(socket.writes).toHaveLength(0)
    await nextTurn()
    expect(socket.writes).toHaveLength(1)
    expect(socket.bytes).toHaveLength(1000 * 17 + 2 * (13 + 16_384))
    outbox.push(message(MessageId.choke))
    await nextTurn()
    expect(socket.writes).toHaveLength(2)
  })

  test('leaves at once on a flush, and not a second time', async () => {
    const { socket, outbox } = open()
    outbox.pushNumbers(MessageId.request, 1, 2, 3)
    outbox.flush()
    expect(socket.writes).toHaveLength(1)
    outbox.flush()
    await nextTurn()
    expect(socket.writes).toHaveLength(1)
  })

  test('is what it was when few bytes were pushed, whatever becomes of their buffer', async () => {
    const { socket, outbox } = open()
    const bytes = new Uint8Array(message(MessageId.have, uint32(5)))
    outbox.push(bytes)
    bytes.fill(0xff)
    await nextTurn()
    expect(socket.bytes).toEqual(message(MessageId.have, uint32(5)))
  })

  test('is not written over while the socket has not taken it', async () => {
    const { socket, outbox } = open()
    socket.hold()
    const expected: Buffer[] = []
    for (let index = 0; index < 2000; index++) {
      outbox.pushNumbers(MessageId.request, index, 0, 16_384)
      expected.push(numbers(MessageId.request, index, 0, 16_384))
      if (index % 300 === 0) outbox.flush()
    }
    outbox.flush()
    socket.release()
    await nextTurn()
    expect(socket.bytes).toEqual(Buffer.concat(expected))
  })

  test('says when', async () => {
    const { outbox } = open()
    expect(outbox.lastSentAt).toBe(0)
    const before = performance.now()
    outbox.flush()
    expect(outbox.lastSentAt).toBe(0)
    outbox.push(message(MessageId.choke))
    await nextTurn()
    expect(outbox.lastSentAt).toBeGreaterThanOrEqual(before)
  })

  test('is the same bytes, however it was pushed and flushed', () => {
    const step = fc.oneof(
      fc.record({ kind: fc.constant('push' as const), length: fc.integer({ min: 1, max: 600 }) }),
      fc.record({ kind: fc.constant('numbers' as const), length: fc.nat(0xffff) }),
      fc.record({ kind: fc.constant('block' as const), length: fc.integer({ min: 1, max: 3000 }) }),
      fc.record({ kind: fc.constant('flush' as const), length: fc.constant(0) }),
    )
    fc.assert(
      fc.property(fc.array(step, { maxLength: 12 }), (steps) => {
        const { socket, outbox } = open()
        const expected: Uint8Array[] = []
        let pending = 0
        for (const [index, { kind, length }] of steps.entries()) {
          if (kind === 'flush') {
            outbox.flush()
            pending = 0
            if (outbox.pendingBytes !== 0) throw new Error('bytes stayed behind')
            continue
          }
          const bytes = kind === 'numbers' ? numbers(6, index, 0, length) : block(length, index)
          if (kind === 'push') outbox.push(bytes)
          else if (kind === 'numbers') outbox.pushNumbers(6, index, 0, length)
          else outbox.pushBlock(index, 0, bytes)
          const sent = kind === 'block' ? pieceMessage(index, 0, bytes) : bytes
          expected.push(sent)
          pending += sent.length
          if (outbox.pendingBytes !== pending) throw new Error('pendingBytes is wrong')
        }
        outbox.flush()
        outbox.close()
        if (!socket.bytes.equals(Buffer.concat(expected))) throw new Error('other bytes')
      }),
      propertyOptions('outbox order'),
    )
  }, 60_000)
})

describe('what waits', () => {
  test('is counted until the socket has taken it', async () => {
    const { socket, outbox } = open()
    socket.hold()
    expect(outbox.pendingBytes).toBe(0)
    outbox.pushNumbers(MessageId.request, 1, 2, 3)
    expect(outbox.pendingBytes).toBe(17)
    outbox.pushBlock(1, 0, block(1000))
    expect(outbox.pendingBytes).toBe(17 + 1013)
    outbox.push(block(300))
    expect(outbox.pendingBytes).toBe(17 + 1013 + 300)
    await nextTurn()
    expect(socket.bytes).toHaveLength(1330)
    expect(outbox.pendingBytes).toBe(1330)
    outbox.push(block(5))
    expect(outbox.pendingBytes).toBe(1335)
    socket.release()
    await nextTurn()
    await nextTurn()
    expect(outbox.pendingBytes).toBe(0)
  })

  test('is dropped on close, and so is what comes later', async () => {
    const { socket, outbox } = open()
    outbox.push(message(MessageId.choke))
    outbox.pushBlock(0, 0, block(10))
    outbox.close()
    expect(outbox.pendingBytes).toBe(0)
    outbox.push(message(MessageId.choke))
    outbox.push(block(1000))
    outbox.pushNumbers(MessageId.request, 1, 2, 3)
    outbox.pushBlock(0, 0, block(10))
    expect(outbox.pendingBytes).toBe(0)
    outbox.flush()
    await nextTurn()
    expect(socket.writes).toHaveLength(0)
  })
})

function open() {
  const socket = new CapturedSocket()
  return { socket, outbox: new Outbox(socket) }
}
