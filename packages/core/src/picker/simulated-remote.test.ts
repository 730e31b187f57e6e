import { describe, expect, test } from 'vitest'
import { Bitfield } from '../metainfo/bitfield.ts'
import type { BlockRequest } from '../wire/data-plane.ts'
import { seededRandom } from './seeded-random.ts'
import { SimulatedRemote } from './simulated-remote.ts'
import type { SimulatedPeerOptions } from './swarm-scenario.ts'
import { VirtualClock } from './virtual-clock.ts'

const BLOCK = 16_384
const blocks = (count: number): BlockRequest[] =>
  Array.from({ length: count }, (_, index) => ({ piece: 0, begin: index * BLOCK, length: BLOCK }))

/** One block takes 16 ms to send, and a message 5 ms one way. */
function connect(options: SimulatedPeerOptions = {}) {
  const clock = new VirtualClock()
  const log: string[] = []
  const note = (what: string) => log.push(`${Math.round(clock.now)} ${what}`)
  const remote = new SimulatedRemote({
    options: { bytesPerSecond: 1_024_000, roundTripMs: 10, ...options },
    pieces: Bitfield.full(2),
    clock,
    random: seededRandom(1),
    handler: {
      onBitfield: (pieces) => note(`has ${pieces.count}`),
      onHave: (piece) => note(`have ${piece}`),
      onChoke: () => note('choke'),
      onUnchoke: () => note('unchoke'),
      onBlock: ({ begin }, isWrong) => note(`${isWrong ? 'wrong ' : ''}block ${begin / BLOCK}`),
      onReject: ({ begin }) => note(`reject ${begin / BLOCK}`),
    },
  })
  const runTo = (ms: number) => {
    while (clock.step(ms));
    return log.splice(0)
  }
  remote.interested()
  return { clock, remote, runTo }
}

describe('a simulated peer', () => {
  test('says what it has, and unchokes whom it interests', () => {
    expect(connect().runTo(100)).toEqual(['5 has 2', '10 unchoke'])
    expect(connect({ unchokesAfterMs: 40 }).runTo(100)).toEqual(['5 has 2', '50 unchoke'])
  })

  test('sends one block after the other, as fast as its line', () => {
    const { remote, runTo } = connect()
    runTo(20)
    remote.request(blocks(3))
    expect(runTo(200)).toEqual(['36 block 0', '52 block 1', '68 block 2'])
  })

  test('forgets what is cancelled, but not what is in its socket', () => {
    const { remote, runTo } = connect({ sendBufferBytes: 2 * BLOCK })
    runTo(20)
    remote.request(blocks(4))
    for (const block of blocks(4)) remote.cancel(block)
    expect(runTo(200)).toEqual(['36 block 0', '52 block 1'])
  })

  test.each([true, false])('rejects what it will not send where it may (%s)', (fast) => {
    const { remote, runTo } = connect({ fast, requestQueue: 1, sendBufferBytes: BLOCK })
    runTo(20)
    remote.request([{ piece: 7, begin: BLOCK, length: BLOCK }])
    // One is being sent, one is kept, and the third finds no place.
    for (const block of blocks(3)) remote.request([block])
    const rejects = fast ? ['20 reject 1', '20 reject 2'] : []
    expect(runTo(200)).toEqual([...rejects, '36 block 0', '52 block 1'])
  })

  test('lies, hangs, refuses or loses as it is told', () => {
    const answers = (options: SimulatedPeerOptions) => {
      const { remote, runTo } = connect(options)
      runTo(20)
      remote.request(blocks(1))
      return runTo(200)
    }
    expect(answers({ conduct: 'lies' })).toEqual(['36 wrong block 0'])
    expect(answers({ conduct: 'hangs' })).toEqual([])
    expect(answers({ conduct: 'refuses' })).toEqual(['20 reject 0'])
    expect(answers({ lossShare: 1 })).toEqual([])
  })

  test('chokes and unchokes, giving back what waits', () => {
    const { remote, runTo } = connect({ unchokedMs: 20, chokedMs: 20, sendBufferBytes: BLOCK })
    remote.request(blocks(10))
    const log = runTo(60).map((line) => line.split(' ')[1])
    expect(log.filter((word) => word === 'choke' || word === 'unchoke').slice(0, 3)).toEqual([
      'unchoke',
      'choke',
      'unchoke',
    ])
    expect(log).toContain('reject')
  })

  test('keeps the order of its messages, however late they are', () => {
    const { remote, runTo } = connect({ jitterMs: 100 })
    runTo(300)
    remote.request(blocks(8))
    const order = runTo(2000).map((line) => Number(line.split(' ').at(-1)))
    expect(order).toEqual([0, 1, 2, 3, 4, 5, 6, 7])
  })

  test('is silent once it is closed', () => {
    const { remote, runTo } = connect()
    runTo(20)
    remote.request(blocks(3))
    runTo(40)
    remote.close()
    remote.have(1)
    expect(runTo(1000)).toEqual([])
  })
})
