import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { propertyOptions } from '../../../../test/support/property.ts'
import { Bitfield } from '../metainfo/bitfield.ts'
import { BLOCK_LENGTH, Layout } from '../metainfo/layout.ts'
import type { BlockRequest } from '../wire/data-plane.ts'
import type { Pace } from './peer-pace.ts'
import { Picker } from './picker.ts'

const HEDGE_MS = 1000
const MIB = 1024 * 1024

/** A peer that has shown what it can, unless the test says otherwise. */
class TestPeer {
  readonly name: string
  pace: Pace

  constructor(name: string, pace: Partial<Pace> = {}) {
    this.name = name
    this.pace = { bytesPerSecond: MIB, roundTripMs: 10, outstanding: 0, ...pace }
  }
}

interface Setup {
  readonly pieces?: number
  /** In each piece. */
  readonly blocks?: number
  readonly random?: () => number
}

function setup({ pieces = 8, blocks = 2, random = () => 0 }: Setup = {}) {
  const pieceLength = blocks * BLOCK_LENGTH
  const layout = new Layout({ pieceLength, files: [{ length: pieces * pieceLength }] })
  const verified = new Bitfield(pieces)
  const held = new Set<number>()
  const picker = new Picker<TestPeer>({
    layout,
    verified,
    mayStart: (piece) => !held.has(piece),
    paceOf: ({ pace }) => pace,
    hedgeMs: HEDGE_MS,
    random,
  })
  const join = (name: string, has: readonly number[] | 'all' = 'all', pace?: Partial<Pace>) => {
    const peer = new TestPeer(name, pace)
    picker.addPeer(peer)
    const bits = has === 'all' ? Bitfield.full(pieces) : new Bitfield(pieces)
    if (has !== 'all') for (const piece of has) bits.set(piece)
    picker.peerHasAll(peer, bits)
    return peer
  }
  /** All blocks of it come from this peer. */
  const fill = (peer: TestPeer, piece: number) => {
    for (let block = 0; block < blocks; block++) picker.received(peer, at(piece, block))
  }
  const finish = (piece: number) => {
    verified.set(piece)
    picker.finished(piece)
  }
  return { picker, verified, held, join, fill, finish }
}

function at(piece: number, block: number): BlockRequest {
  return { piece, begin: block * BLOCK_LENGTH, length: BLOCK_LENGTH }
}

const piecesOf = (picked: readonly BlockRequest[]) => picked.map(({ piece }) => piece)
const reader = {}

describe('what readers wait for', () => {
  test('the nearest piece comes first, whole', () => {
    const { picker, join } = setup()
    const peer = join('a')
    picker.setWindow(reader, { start: 3, end: 6 })
    expect(picker.pick(peer, 100, 0)).toEqual([
      at(3, 0),
      at(3, 1),
      at(4, 0),
      at(4, 1),
      at(5, 0),
      at(5, 1),
    ])
    expect(picker.pick(peer, 100, 0)).toEqual([])
  })

  test('no more than there is room for, and the rest the next time', () => {
    const { picker, join } = setup()
    const peer = join('a')
    picker.setWindow(reader, { start: 0, end: 8 })
    expect(picker.pick(peer, 3, 0)).toEqual([at(0, 0), at(0, 1), at(1, 0)])
    expect(picker.pick(peer, 0, 0)).toEqual([])
    expect(picker.pick(peer, 2, 0)).toEqual([at(1, 1), at(2, 0)])
  })

  test('several readers are served in turns, each with its nearest first', () => {
    const { picker, join } = setup({ blocks: 1 })
    const peer = join('a')
    picker.setWindow(reader, { start: 0, end: 3 })
    picker.setWindow({}, { start: 5, end: 7 })
    expect(piecesOf(picker.pick(peer, 100, 0))).toEqual([0, 5, 1, 6, 2])
  })

  test('a piece of two windows is asked for once', () => {
    const { picker, join } = setup({ blocks: 1 })
    const peer = join('a')
    picker.setWindow(reader, { start: 0, end: 4 })
    picker.setWindow({}, { start: 2, end: 5 })
    expect(piecesOf(picker.pick(peer, 100, 0))).toEqual([0, 2, 1, 3, 4])
  })

  test('what the peer lacks, or is here, is passed over', () => {
    const { picker, verified, join } = setup({ blocks: 1 })
    const peer = join('a', [1, 2, 4])
    verified.set(2)
    picker.setWindow(reader, { start: 0, end: 5 })
    expect(piecesOf(picker.pick(peer, 100, 0))).toEqual([1, 4])
    picker.peerHas(peer, 3)
    expect(piecesOf(picker.pick(peer, 100, 0))).toEqual([3])
  })

  test('a window that moved or is gone is asked for no more', () => {
    const { picker, join } = setup({ blocks: 1 })
    const peer = join('a')
    picker.setWindow(reader, { start: 0, end: 3 })
    picker.setWindow(reader, { start: 6, end: 7 })
    expect(piecesOf(picker.pick(peer, 100, 0))).toEqual([6])
    picker.setWindow({}, { start: 1, end: 2 })
    picker.removeWindow(reader)
    expect(picker.windowOf(reader)).toBeUndefined()
    expect(piecesOf(picker.pick(peer, 100, 0))).toEqual([1])
  })

  test('distances are those of the nearest reader behind', () => {
    const { picker } = setup()
    picker.setWindow(reader, { start: 1, end: 5 })
    picker.setWindow({}, { start: 3, end: 4 })
    expect([0, 1, 2, 3, 4, 5].map((piece) => picker.distanceOf(piece))).toEqual([
      Number.POSITIVE_INFINITY,
      0,
      1,
      0,
      3,
      Number.POSITIVE_INFINITY,
    ])
    expect(picker.urgent(3)).toEqual([1, 3, 2])
    expect([picker.isInWindow(4), picker.isInWindow(5)]).toEqual([true, false])
  })
})

describe('what nobody waits for', () => {
  test('is fetched rarest first', () => {
    const { picker, join } = setup({ pieces: 4, blocks: 1 })
    const peer = join('a')
    join('b', [0, 1, 2])
    join('c', [0, 2])
    for (const piece of [0, 1, 2, 3]) picker.want(piece)
    expect(piecesOf(picker.pick(peer, 2, 0))).toEqual([3, 1])
    expect(piecesOf(picker.pick(peer, 2, 0)).sort()).toEqual([0, 2])
  })

  test('among equals from a random place on', () => {
    const { picker, join } = setup({ pieces: 8, blocks: 1, random: () => 0.5 })
    const peer = join('a')
    for (let piece = 0; piece < 8; piece++) picker.want(piece)
    expect(piecesOf(picker.pick(peer, 1, 0))).toEqual([4])
  })

  test('comes after what readers wait for, and started pieces come before others', () => {
    const { picker, join } = setup({ pieces: 4, blocks: 2 })
    const peer = join('a')
    for (const piece of [0, 1, 2, 3]) picker.want(piece)
    const [first] = picker.pick(peer, 1, 0)
    picker.setWindow(reader, { start: 2, end: 3 })
    const rest = picker.pick(peer, 3, 0)
    expect(piecesOf(rest)).toEqual([2, 2, first?.piece])
  })

  test('how rare a piece is follows what peers tell, however they tell it', () => {
    const { picker, join } = setup({ pieces: 3, blocks: 1 })
    const peer = join('a')
    const other = join('b', [0])
    const leaving = join('c', [2])
    // Told one by one after a bitfield, also twice.
    picker.peerHas(other, 1)
    picker.peerHas(other, 1)
    const more = new Bitfield(3)
    more.set(2)
    picker.peerHasAll(leaving, more)
    picker.removePeer(leaving)
    for (const piece of [0, 1, 2]) picker.want(piece)
    expect(piecesOf(picker.pick(peer, 1, 0))).toEqual([2])
    picker.removePeer(other)
    const third = join('d', [0, 2])
    expect(piecesOf(picker.pick(peer, 1, 0))).toEqual([1])
    picker.peerLost(third, 0)
    expect(picker.pick(third, 1, 0)).toEqual([])
  })

  test('a bitfield that its owner changes counts once it is told', () => {
    const { picker, join } = setup({ pieces: 2, blocks: 1 })
    for (const name of ['a', 'b']) {
      const peer = new TestPeer(name)
      const bits = new Bitfield(2)
      bits.set(0)
      picker.addPeer(peer)
      picker.peerHasAll(peer, bits)
      bits.set(1)
      picker.peerHas(peer, 1)
    }
    join('c', [1])
    const asking = join('d')
    for (const piece of [0, 1]) picker.want(piece)
    // Piece 0 is with three peers, piece 1 with four.
    expect(piecesOf(picker.pick(asking, 1, 0))).toEqual([0])
  })

  test('is wanted until nobody wants it any more', () => {
    const { picker, join } = setup({ blocks: 1 })
    const peer = join('a')
    picker.want(3)
    picker.want(3)
    picker.unwant(3)
    expect(picker.isWanted(3)).toBe(true)
    expect(piecesOf(picker.pick(peer, 1, 0))).toEqual([3])
    picker.giveBack(peer, at(3, 0))
    picker.unwant(3)
    picker.unwant(3)
    expect(picker.isWanted(3)).toBe(false)
    expect(picker.pick(peer, 1, 0)).toEqual([])
    picker.want(3)
    expect(piecesOf(picker.pick(peer, 1, 0))).toEqual([3])
  })
})

describe('interest', () => {
  test('is in peers that have something that is wanted and not here', () => {
    const { picker, verified, join } = setup()
    const peer = join('a', [2])
    expect(picker.isInteresting(peer)).toBe(false)
    picker.want(2)
    expect(picker.isInteresting(peer)).toBe(true)
    verified.set(2)
    expect(picker.isInteresting(peer)).toBe(false)
    picker.setWindow(reader, { start: 5, end: 7 })
    expect(picker.isInteresting(peer)).toBe(false)
    picker.peerHas(peer, 6)
    expect(picker.isInteresting(peer)).toBe(true)
    expect(picker.isInteresting(new TestPeer('stranger'))).toBe(false)
  })
})

describe('blocks that come, and do not', () => {
  test('a piece is complete with its last block', () => {
    const { picker, join } = setup()
    const peer = join('a')
    picker.setWindow(reader, { start: 0, end: 1 })
    picker.pick(peer, 2, 0)
    expect(picker.received(peer, at(0, 1))).toEqual({ complete: false, cancel: [] })
    expect(picker.received(peer, at(0, 1))).toBeUndefined()
    expect(picker.received(peer, at(0, 0))).toEqual({ complete: true, cancel: [] })
    expect(picker.received(peer, at(1, 0))).toBeUndefined()
    expect(picker.startedPieces).toEqual([0])
    expect(picker.blocksOf(0)?.isComplete).toBe(true)
    expect(picker.pick(peer, 9, 0)).toEqual([])
  })

  test('what is given back is asked for again, of anybody', () => {
    const { picker, join } = setup()
    const [peer, other] = [join('a'), join('b')]
    picker.setWindow(reader, { start: 0, end: 1 })
    picker.pick(peer, 2, 0)
    expect(picker.pick(other, 2, 0)).toEqual([])
    picker.giveBack(peer, at(0, 1))
    expect(picker.pick(other, 2, 0)).toEqual([at(0, 1)])
    picker.giveBack(other, at(0, 1))
    expect(picker.pick(peer, 2, 0)).toEqual([at(0, 1)])
  })

  test('what was asked of a peer that is gone is free, what it sent stays', () => {
    const { picker, join } = setup()
    const [peer, other] = [join('a'), join('b')]
    picker.setWindow(reader, { start: 0, end: 2 })
    picker.pick(peer, 4, 0)
    picker.received(peer, at(0, 0))
    expect(picker.removePeer(peer)).toEqual([])
    expect(picker.pick(peer, 9, 0)).toEqual([])
    expect(picker.pick(other, 1, 0)).toEqual([at(0, 1)])
    expect(piecesOf(picker.pick(other, 9, 0))).toEqual([1, 1])
  })

  test('who refuses a piece is not asked for it for a while, and for others at once', () => {
    const { picker, join } = setup()
    const peer = join('a')
    picker.setWindow(reader, { start: 0, end: 2 })
    picker.want(5)
    expect(picker.pick(peer, 1, 0)).toEqual([at(0, 0)])
    picker.refused(peer, at(0, 0), 0)
    expect(piecesOf(picker.pick(peer, 9, 1))).toEqual([1, 1, 5, 5])
    expect(picker.pick(peer, 9, HEDGE_MS - 1)).toEqual([])
    const other = join('b')
    expect(picker.pick(other, 1, 1)).toEqual([at(0, 0)])
    expect(piecesOf(picker.pick(peer, 9, HEDGE_MS))).toContain(0)
  })

  test('a piece that was refused does not hold back the rarest of the others', () => {
    const { picker, join } = setup({ pieces: 2, blocks: 1 })
    const peer = join('a')
    for (const piece of [0, 1]) picker.want(piece)
    expect(piecesOf(picker.pick(peer, 1, 0))).toEqual([0])
    picker.refused(peer, at(0, 0), 0)
    expect(piecesOf(picker.pick(peer, 1, 1))).toEqual([1])
  })

  test('what may not start is held back until it may', () => {
    const { picker, held, join } = setup({ blocks: 1 })
    const peer = join('a')
    picker.setWindow(reader, { start: 0, end: 3 })
    held.add(0)
    expect(piecesOf(picker.pick(peer, 9, 0))).toEqual([1, 2])
    held.delete(0)
    expect(piecesOf(picker.pick(peer, 9, 0))).toEqual([0])
  })

  test('a finished piece is not asked for again until it is lost', () => {
    const { picker, verified, join, fill, finish } = setup()
    const peer = join('a')
    picker.setWindow(reader, { start: 0, end: 1 })
    picker.pick(peer, 9, 0)
    fill(peer, 0)
    finish(0)
    expect(picker.startedPieces).toEqual([])
    expect(picker.urgent(9)).toEqual([])
    expect(picker.pick(peer, 9, 0)).toEqual([])
    verified.clear(0)
    picker.dropped(0)
    expect(picker.pick(peer, 9, 0)).toEqual([at(0, 0), at(0, 1)])
  })

  test('a piece that was dropped half-way begins anew', () => {
    const { picker, join } = setup()
    const peer = join('a')
    picker.setWindow(reader, { start: 0, end: 1 })
    picker.pick(peer, 9, 0)
    picker.received(peer, at(0, 0))
    picker.dropped(0)
    expect(picker.received(peer, at(0, 1))).toBeUndefined()
    expect(picker.pick(peer, 9, 0)).toEqual([at(0, 0), at(0, 1)])
  })
})

describe('blocks that are late', () => {
  test('are asked of a second peer, then of a third, never of the same one, never of a fourth', () => {
    const { picker, join } = setup()
    const first = join('a')
    picker.setWindow(reader, { start: 0, end: 1 })
    expect(picker.pick(first, 9, 0)).toHaveLength(2)
    const [second, third, fourth] = [join('b'), join('c'), join('d')]
    expect(picker.pick(second, 9, 20)).toEqual([])
    const late = picker.nextLateAt(0)
    expect(late).toBeLessThan(200)
    expect(picker.pick(first, 9, late + 100)).toEqual([])
    expect(picker.pick(second, 9, late + 100)).toEqual([at(0, 0), at(0, 1)])
    expect(picker.pick(second, 9, late + 5000)).toEqual([])
    expect(picker.pick(third, 9, late + 5000)).toEqual([at(0, 0), at(0, 1)])
    expect(picker.pick(fourth, 9, late + 9000)).toEqual([])
  })

  test('whoever sends first wins, the other one gets a cancel', () => {
    const { picker, join } = setup()
    const [first, second] = [join('a'), join('b')]
    picker.setWindow(reader, { start: 0, end: 1 })
    picker.pick(first, 9, 0)
    picker.pick(second, 9, 5000)
    expect(picker.received(second, at(0, 0))).toEqual({ complete: false, cancel: [first] })
    expect(picker.received(first, at(0, 0))).toBeUndefined()
    expect(picker.received(first, at(0, 1))).toEqual({ complete: true, cancel: [second] })
    expect(picker.blocksOf(0)?.contributors).toEqual(new Set([first, second]))
  })

  test('of a peer of which nothing came yet are late after hedgeMs', () => {
    const { picker, join } = setup()
    const untried = join('a', 'all', { bytesPerSecond: undefined })
    picker.setWindow(reader, { start: 0, end: 1 })
    expect(picker.pick(untried, 9, 0)).toHaveLength(2)
    const other = join('b', 'all', { bytesPerSecond: undefined })
    expect(picker.pick(other, 9, HEDGE_MS - 1)).toEqual([])
    expect(picker.pick(other, 9, 2 * HEDGE_MS)).toHaveLength(2)
  })

  test('that readers do not wait for are asked once, except the last ones of a download', () => {
    const { picker, join } = setup({ pieces: 2 })
    const [first, second] = [join('a'), join('b')]
    picker.want(1)
    picker.pick(first, 9, 0)
    picker.setWindow(reader, { start: 0, end: 1 })
    expect(piecesOf(picker.pick(second, 9, 60_000))).toEqual([0, 0])
    picker.removeWindow(reader)
    expect(piecesOf(picker.pick(second, 9, 60_000))).toEqual([1, 1])
  })

  test('each is announced once: what was late before is not looked for again and again', () => {
    const { picker, join } = setup()
    const first = join('a')
    picker.setWindow(reader, { start: 0, end: 1 })
    picker.pick(first, 9, 0)
    let now = 0
    const times: number[] = []
    for (let at = picker.nextLateAt(now); at < 1e9; at = picker.nextLateAt(now)) {
      times.push(at)
      now = at + 1
    }
    expect(times.length).toBeLessThanOrEqual(2)
  })
})

describe('peers of different speed', () => {
  const slow = { bytesPerSecond: 20_000, roundTripMs: 200 }
  const fast = { bytesPerSecond: 50 * MIB }

  test('who has not shown what it can is tried with little, and not with what is needed first', () => {
    const { picker, join } = setup({ pieces: 40 })
    join('known')
    const untried = join('a', 'all', { bytesPerSecond: undefined })
    picker.setWindow(reader, { start: 0, end: 40 })
    const picked = picker.pick(untried, 500, 0)
    expect(picked).toHaveLength(8)
    expect(piecesOf(picked)).not.toContain(0)
  })

  test('unless nobody else sends just that', () => {
    const { picker, join } = setup()
    join('known', [1, 2, 3])
    join('choking', 'all', { willing: false })
    const untried = join('a', [0], { bytesPerSecond: undefined })
    picker.setWindow(reader, { start: 0, end: 4 })
    expect(piecesOf(picker.pick(untried, 500, 0))).toEqual([0, 0])
  })

  test('a slow one leaves what is near to the others', () => {
    const { picker, join } = setup({ pieces: 400 })
    join('fast', 'all', fast)
    const tortoise = join('slow', 'all', slow)
    picker.setWindow(reader, { start: 0, end: 4 })
    expect(picker.pick(tortoise, 500, 0)).toEqual([])
  })

  test.each([
    ['does not have it', [0, 1], {}],
    ['does not let us ask, or does not answer', 'all', { willing: false }],
  ] as const)('but not where the fast one %s', (_, has, more) => {
    const { picker, join } = setup({ pieces: 8 })
    join('fast', has, { ...fast, ...more })
    join('another fast one', [0, 1], fast)
    const tortoise = join('slow', 'all', slow)
    picker.setWindow(reader, { start: 0, end: 3 })
    expect(piecesOf(picker.pick(tortoise, 500, 0))).toEqual([2, 2])
  })
})

describe('a piece that failed its hash', () => {
  function failedOnce() {
    const all = setup()
    const [first, second, third] = [all.join('a'), all.join('b'), all.join('c')]
    all.picker.setWindow(reader, { start: 0, end: 1 })
    all.picker.pick(first, 1, 0)
    all.picker.pick(second, 1, 0)
    all.picker.received(first, at(0, 0))
    all.picker.received(second, at(0, 1))
    all.picker.failed(0)
    return { ...all, first, second, third }
  }

  test('comes from one peer alone, whoever takes it first', () => {
    const { picker, first, second } = failedOnce()
    expect(picker.pick(second, 1, 0)).toEqual([at(0, 0)])
    expect(picker.pick(first, 9, 0)).toEqual([])
    expect(picker.pick(first, 9, 60_000)).toEqual([])
    picker.received(second, at(0, 0))
    expect(picker.pick(first, 9, 60_000)).toEqual([])
    expect(picker.pick(second, 9, 60_000)).toEqual([at(0, 1)])
  })

  test('is for everybody again once it is finished', () => {
    const { picker, verified, first, second, fill, finish } = failedOnce()
    picker.pick(second, 9, 0)
    fill(second, 0)
    finish(0)
    verified.clear(0)
    picker.dropped(0)
    picker.pick(first, 1, 0)
    expect(picker.pick(second, 9, 0)).toEqual([at(0, 1)])
  })

  test('begins anew with another one when its source is gone', () => {
    const { picker, first, second } = failedOnce()
    picker.pick(second, 2, 0)
    picker.received(second, at(0, 0))
    expect(picker.removePeer(second)).toEqual([0])
    expect(picker.pick(first, 9, 0)).toEqual([at(0, 0), at(0, 1)])
  })

  test('is for the others first when its source does not deliver, then for it again', () => {
    const { picker, first, second, third } = failedOnce()
    picker.pick(second, 2, 0)
    expect(picker.releaseSource(second)).toEqual([0])
    expect(picker.releaseSource(second)).toEqual([])
    expect(picker.pick(second, 9, 0)).toEqual([])
    expect(picker.pick(first, 9, 0)).toHaveLength(2)
    picker.releaseSource(first)
    picker.removePeer(third)
    expect(picker.pick(second, 9, 0)).toHaveLength(2)
  })

  test('a source whose piece is being hashed keeps it', () => {
    const { picker, second, fill } = failedOnce()
    picker.pick(second, 2, 0)
    fill(second, 0)
    expect(picker.releaseSource(second)).toEqual([])
    expect(picker.removePeer(second)).toEqual([])
    expect(picker.blocksOf(0)?.isComplete).toBe(true)
  })
})

/** Keeps what a swarm would know, and checks every answer of the picker against it. */
class Model {
  readonly #pieces: number
  readonly #blocks: number
  readonly #setup: ReturnType<typeof setup>
  readonly #has = new Map<TestPeer, Set<number>>()
  /** Who is asked for which block, by its name. */
  readonly #asked = new Map<string, Set<TestPeer>>()
  readonly #here = new Map<string, TestPeer>()
  readonly #failed = new Set<number>()
  #now = 0

  constructor(pieces: number, blocks: number, random: () => number) {
    this.#pieces = pieces
    this.#blocks = blocks
    this.#setup = setup({ pieces, blocks, random })
  }

  get verified(): Bitfield {
    return this.#setup.verified
  }

  run(step: Step): void {
    const { picker } = this.#setup
    const peers = [...this.#has.keys()]
    const peer = peers[step.a % Math.max(1, peers.length)]
    const piece = step.b % this.#pieces
    this.#now += step.ms
    if (step.kind === 'join' && peers.length < 5) this.join(step)
    else if (step.kind === 'window')
      picker.setWindow(READERS[step.a % 2] as object, windowOf(step, this.#pieces))
    else if (step.kind === 'leave') picker.removeWindow(READERS[step.a % 2] as object)
    else if (step.kind === 'want') picker.want(piece)
    else if (step.kind === 'lose' && this.verified.has(piece)) this.#lose(piece)
    if (peer === undefined) return
    if (step.kind === 'have') this.#have(peer, piece)
    else if (step.kind === 'pick') this.pick(peer, step.b % 9)
    else if (step.kind === 'send') this.#send(peer, step.b)
    else if (step.kind === 'refuse') this.#giveBack(peer, step.b, true)
    else if (step.kind === 'back') this.#giveBack(peer, step.b, false)
    else if (step.kind === 'snub') this.snub(peer)
    else if (step.kind === 'gone') this.#remove(peer)
    else if (step.kind === 'hash') this.#hash(piece, step.a % 3 !== 0)
  }

  join({ a, b }: { a: number; b: number }): TestPeer {
    const known = a % 4 !== 0
    const peer = new TestPeer(`${a}`, { bytesPerSecond: known ? 10 ** (3 + (b % 5)) : undefined })
    const has = new Set(
      Array.from({ length: this.#pieces }, (_, piece) => piece).filter((piece) => (b >> piece) & 1),
    )
    const bits = new Bitfield(this.#pieces)
    for (const piece of has) bits.set(piece)
    this.#has.set(peer, has)
    this.#setup.picker.addPeer(peer)
    this.#setup.picker.peerHasAll(peer, bits)
    return peer
  }

  pick(peer: TestPeer, room: number): number {
    const picked = this.#setup.picker.pick(peer, room, this.#now)
    expect(picked.length).toBeLessThanOrEqual(room)
    for (const block of picked) this.#check(peer, block)
    this.#updatePace(peer)
    return picked.length
  }

  /** Whoever is asked for anything sends it, and every piece turns out right. */
  settle(peer: TestPeer): void {
    for (const key of this.#askedOf(peer)) this.#receive(peer, key)
    for (let piece = 0; piece < this.#pieces; piece++) this.#hash(piece, true)
  }

  snub(peer: TestPeer): void {
    for (const key of this.#askedOf(peer)) this.#unask(peer, key)
    for (const piece of this.#setup.picker.releaseSource(peer)) this.#drop(piece)
    this.#updatePace(peer)
    peer.pace = { ...peer.pace, willing: false }
  }

  wait(ms: number): void {
    this.#now += ms
  }

  get wanted(): number[] {
    const all = Array.from({ length: this.#pieces }, (_, piece) => piece)
    return all.filter((piece) => this.#setup.picker.isWanted(piece))
  }

  get peers(): TestPeer[] {
    return [...this.#has.keys()]
  }

  #check(peer: TestPeer, block: BlockRequest): void {
    const key = `${block.piece} ${block.begin / BLOCK_LENGTH}`
    const others = this.#asked.get(key) ?? new Set()
    const context = `${peer.name} asked for ${key}`
    expect(this.#has.get(peer)?.has(block.piece), `${context}, which it lacks`).toBe(true)
    expect(this.verified.has(block.piece), `${context}, which is verified`).toBe(false)
    expect(this.#here.has(key), `${context}, which is here`).toBe(false)
    expect(others.has(peer), `${context} twice`).toBe(false)
    expect(others.size, `${context}, as are others`).toBeLessThanOrEqual(1)
    expect(this.#setup.picker.isWanted(block.piece), `${context}, which nobody wants`).toBe(true)
    if (this.#failed.has(block.piece)) {
      const sources = this.#sourcesOf(block.piece)
      sources.delete(peer)
      expect(sources.size, `${context}, which failed and comes from others`).toBe(0)
    }
    this.#asked.set(key, others.add(peer))
  }

  /** Everybody who was asked for something of the piece, or sent it. */
  #sourcesOf(piece: number): Set<TestPeer> {
    const sources = new Set<TestPeer>()
    for (let block = 0; block < this.#blocks; block++) {
      const key = `${piece} ${block}`
      for (const peer of this.#asked.get(key) ?? []) sources.add(peer)
      const sender = this.#here.get(key)
      if (sender !== undefined) sources.add(sender)
    }
    return sources
  }

  #askedOf(peer: TestPeer): string[] {
    return [...this.#asked].flatMap(([key, peers]) => (peers.has(peer) ? [key] : []))
  }

  #have(peer: TestPeer, piece: number): void {
    this.#has.get(peer)?.add(piece)
    this.#setup.picker.peerHas(peer, piece)
  }

  #send(peer: TestPeer, which: number): void {
    const keys = this.#askedOf(peer)
    const key = keys[which % Math.max(1, keys.length)]
    if (key !== undefined) this.#receive(peer, key)
  }

  #receive(peer: TestPeer, key: string): void {
    const others = [...(this.#asked.get(key) ?? [])].filter((other) => other !== peer)
    const outcome = this.#setup.picker.received(peer, blockOf(key))
    expect(outcome?.cancel).toEqual(others)
    this.#asked.delete(key)
    this.#here.set(key, peer)
    expect(outcome?.complete).toBe(this.#isWhole(blockOf(key).piece))
    this.#updatePace(peer)
  }

  #giveBack(peer: TestPeer, which: number, refused: boolean): void {
    const keys = this.#askedOf(peer)
    const key = keys[which % Math.max(1, keys.length)]
    if (key === undefined) return
    if (refused) {
      this.#setup.picker.refused(peer, blockOf(key), this.#now)
      this.#asked.get(key)?.delete(peer)
    } else {
      this.#unask(peer, key)
    }
    this.#updatePace(peer)
  }

  #unask(peer: TestPeer, key: string): void {
    this.#setup.picker.giveBack(peer, blockOf(key))
    this.#asked.get(key)?.delete(peer)
  }

  #remove(peer: TestPeer): void {
    for (const peers of this.#asked.values()) peers.delete(peer)
    this.#has.delete(peer)
    for (const piece of this.#setup.picker.removePeer(peer)) this.#drop(piece)
  }

  #isWhole(piece: number): boolean {
    for (let block = 0; block < this.#blocks; block++) {
      if (!this.#here.has(`${piece} ${block}`)) return false
    }
    return true
  }

  #hash(piece: number, right: boolean): void {
    if (!this.#isWhole(piece) || this.verified.has(piece)) return
    this.#clear(piece)
    if (right) {
      this.#failed.delete(piece)
      this.#setup.finish(piece)
    } else {
      this.#failed.add(piece)
      this.#setup.picker.failed(piece)
    }
  }

  #lose(piece: number): void {
    this.verified.clear(piece)
    this.#setup.picker.dropped(piece)
  }

  #drop(piece: number): void {
    this.#clear(piece)
    this.#setup.picker.dropped(piece)
  }

  #clear(piece: number): void {
    for (let block = 0; block < this.#blocks; block++) {
      this.#asked.delete(`${piece} ${block}`)
      this.#here.delete(`${piece} ${block}`)
    }
  }

  #updatePace(peer: TestPeer): void {
    peer.pace = { ...peer.pace, outstanding: this.#askedOf(peer).length, willing: true }
  }
}

const READERS = [{}, {}]

interface Step {
  readonly kind: string
  readonly a: number
  readonly b: number
  readonly ms: number
}

function blockOf(key: string): BlockRequest {
  const [piece, block] = key.split(' ').map(Number)
  return at(piece ?? 0, block ?? 0)
}

function windowOf({ a, b }: Step, pieces: number) {
  const start = a % pieces
  return { start, end: Math.min(pieces, start + 1 + (b % 4)) }
}

const STEPS = [
  'join',
  'have',
  'window',
  'leave',
  'want',
  'pick',
  'pick',
  'pick',
  'send',
  'send',
  'send',
  'refuse',
  'back',
  'snub',
  'gone',
  'hash',
  'hash',
  'lose',
]

describe('Picker', () => {
  const step = fc.record<Step>({
    kind: fc.constantFrom(...STEPS),
    a: fc.nat(255),
    b: fc.nat(255),
    ms: fc.constantFrom(0, 1, 50, 2000),
  })

  test('asks nobody for what it lacks or nobody needs, nothing twice but of a second peer, and all in the end', () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60 }), fc.nat(99), (steps, random) => {
        const model = new Model(6, 3, () => random / 100)
        for (const each of steps) model.run(each)
        // One good peer is enough, whatever the others do, once those that stall are found out.
        const seed = model.join({ a: 1, b: 255 })
        for (let round = 0; round < 60; round++) {
          model.wait(2 * HEDGE_MS)
          for (const peer of model.peers) if (peer !== seed) model.snub(peer)
          model.pick(seed, 4)
          model.settle(seed)
        }
        for (const piece of model.wanted)
          expect(model.verified.has(piece), `piece ${piece}`).toBe(true)
      }),
      propertyOptions('picker', 2000),
    )
  }, 60_000)
})
