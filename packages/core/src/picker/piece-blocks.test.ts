import { describe, expect, test } from 'vitest'
import { PieceBlocks } from './piece-blocks.ts'

const BLOCK = 16_384
const always = () => true
const never = () => false

/** Four blocks, the last one short. */
function fourBlocks(): PieceBlocks<string> {
  return new PieceBlocks(7, 3 * BLOCK + 100, 4)
}

function takeAll(blocks: PieceBlocks<string>, peer: string): number[] {
  const taken: number[] = []
  for (let block = blocks.take(peer, 0); block !== -1; block = blocks.take(peer, 0)) {
    taken.push(block)
  }
  return taken
}

describe('PieceBlocks', () => {
  test('hands out every block once, in order', () => {
    const blocks = fourBlocks()
    expect([blocks.piece, blocks.blockCount, blocks.freeCount]).toEqual([7, 4, 4])
    expect([blocks.take('a', 0), blocks.take('b', 0)]).toEqual([0, 1])
    expect(takeAll(blocks, 'a')).toEqual([2, 3])
    expect(blocks.freeCount).toBe(0)
    expect(blocks.askedFrom(1)).toEqual(['b'])
  })

  test('is complete once every block came, and knows who sent which', () => {
    const blocks = fourBlocks()
    blocks.take('a', 0)
    takeAll(blocks, 'b')
    expect(blocks.receive(0, 'a')).toEqual([])
    for (const block of [3, 2]) expect(blocks.receive(block, 'b')).toEqual([])
    expect(blocks.isComplete).toBe(false)
    expect(blocks.missing).toBe(1)
    expect(blocks.receive(1, 'b')).toEqual([])
    expect(blocks.isComplete).toBe(true)
    expect(blocks.contributors).toEqual(new Set(['a', 'b']))
    expect([0, 1, 2, 3].map((block) => blocks.senderOf(block))).toEqual(['a', 'b', 'b', 'b'])
  })

  test('a block that nobody was asked for, or that is here, counts for nothing', () => {
    const blocks = fourBlocks()
    expect(blocks.receive(0, 'a')).toBeUndefined()
    blocks.take('a', 0)
    expect(blocks.receive(0, 'a')).toEqual([])
    expect(blocks.receive(0, 'b')).toBeUndefined()
    expect(blocks.missing).toBe(3)
    expect(blocks.senderOf(0)).toBe('a')
  })

  test('what is given back is handed out again', () => {
    const blocks = fourBlocks()
    takeAll(blocks, 'a')
    blocks.giveBack(2, 'a')
    expect(blocks.freeCount).toBe(1)
    expect(blocks.take('b', 0)).toBe(2)
    expect(blocks.askedFrom(2)).toEqual(['b'])
  })

  test('nothing is given back twice, by a stranger, or once it is here', () => {
    const blocks = fourBlocks()
    takeAll(blocks, 'a')
    blocks.giveBack(2, 'b')
    expect(blocks.freeCount).toBe(0)
    blocks.giveBack(2, 'a')
    blocks.giveBack(2, 'a')
    expect(blocks.freeCount).toBe(1)
    blocks.receive(1, 'a')
    blocks.giveBack(1, 'a')
    expect(blocks.freeCount).toBe(1)
    expect(takeAll(blocks, 'c')).toEqual([2])
  })

  test('two more peers are asked for what the first one is late with, and nobody for it twice', () => {
    const blocks = fourBlocks()
    blocks.take('a', 100)
    blocks.take('b', 200)
    expect(blocks.hedge('b', 300, 0, never)).toBe(-1)
    expect(blocks.hedge('a', 300, 0, always)).toBe(1)
    expect(blocks.hedge('a', 300, 0, always)).toBe(-1)
    expect(blocks.hedge('c', 300, 0, (dueAt) => dueAt === 100)).toBe(0)
    expect(blocks.hedge('c', 300, 0, always)).toBe(1)
    expect(blocks.hedge('c', 300, 0, always)).toBe(-1)
    expect(blocks.hedge('d', 300, 0, always)).toBe(0)
    expect(blocks.hedge('d', 300, 0, always)).toBe(-1)
    expect([blocks.askedFrom(0), blocks.askedFrom(1)]).toEqual([
      ['a', 'c', 'd'],
      ['b', 'a', 'c'],
    ])
  })

  test('the loser of a race is told of, whoever wins', () => {
    const blocks = fourBlocks()
    takeAll(blocks, 'a')
    blocks.hedge('b', 0, 0, always)
    blocks.hedge('b', 0, 0, always)
    expect(blocks.receive(0, 'b')).toEqual(['a'])
    expect(blocks.receive(1, 'a')).toEqual(['b'])
    expect(blocks.senderOf(0)).toBe('b')
  })

  test('a block with two peers is free only when both gave it back', () => {
    const blocks = fourBlocks()
    takeAll(blocks, 'a')
    blocks.hedge('b', 0, 0, always)
    blocks.giveBack(0, 'a')
    expect(blocks.freeCount).toBe(0)
    expect(blocks.askedFrom(0)).toEqual(['b'])
    blocks.giveBack(0, 'b')
    expect(takeAll(blocks, 'c')).toEqual([0])
  })

  test('a peer that is gone leaves free what it was asked for, and what it sent stays', () => {
    const blocks = fourBlocks()
    takeAll(blocks, 'a')
    blocks.receive(0, 'a')
    blocks.hedge('b', 0, 0, always)
    blocks.removePeer('a')
    expect(blocks.askedFrom(1)).toEqual(['b'])
    expect(takeAll(blocks, 'c').sort()).toEqual([2, 3])
    expect(blocks.has(0)).toBe(true)
  })

  test('a block that others are late with is due when the last one asked is expected to send it', () => {
    const blocks = fourBlocks()
    blocks.take('a', 100)
    blocks.hedge('b', 700, 200, always)
    expect(blocks.nextDueAfter(0)).toBe(700)
    blocks.hedge('c', 900, 300, always)
    expect(blocks.nextDueAfter(0)).toBe(Number.POSITIVE_INFINITY)
  })

  test('tells when the first block is due that more peers may be asked for', () => {
    const blocks = fourBlocks()
    expect(blocks.nextDueAfter(0)).toBe(Number.POSITIVE_INFINITY)
    blocks.take('a', 300)
    blocks.take('a', 200)
    expect([blocks.nextDueAfter(0), blocks.nextDueAfter(200)]).toEqual([200, 300])
    blocks.hedge('b', 500, 0, (dueAt) => dueAt === 200)
    expect(blocks.nextDueAfter(0)).toBe(200)
    blocks.hedge('c', 500, 0, (dueAt) => dueAt === 200)
    expect(blocks.nextDueAfter(0)).toBe(300)
    blocks.receive(0, 'a')
    expect(blocks.nextDueAfter(0)).toBe(Number.POSITIVE_INFINITY)
  })
})
