import { describe, expect, test } from 'vitest'
import { PieceBlocks } from '../picker/piece-blocks.ts'
import { PieceSuspects } from './piece-suspects.ts'

const BLOCK = 16_384
const right = Uint8Array.from({ length: 2 * BLOCK + 5 }, (_, index) => index % 251)

/** The piece as these peers sent it, block by block; who lies changes the last byte of its blocks. */
function attempt(piece: number, senders: readonly string[], liars: readonly string[]) {
  const blocks = new PieceBlocks<string>(piece, right.length, 3)
  const bytes = right.slice()
  for (const [block, sender] of senders.entries()) {
    blocks.take(sender, 0)
    blocks.receive(block, sender)
    const last = Math.min(right.length, (block + 1) * BLOCK) - 1
    if (liars.includes(sender)) bytes[last] = (bytes[last] ?? 0) ^ 1
  }
  return { blocks, bytes }
}

describe('PieceSuspects', () => {
  test('who sent a wrong piece alone lied', () => {
    const suspects = new PieceSuspects<string>()
    const { blocks, bytes } = attempt(3, ['a', 'a', 'a'], ['a'])
    expect(suspects.failed(blocks, bytes)).toBe('a')
    expect(suspects.failures(3)).toBe(1)
    expect(suspects.failures(4)).toBe(0)
  })

  test('of many, it shows with the right bytes', () => {
    const suspects = new PieceSuspects<string>()
    const { blocks, bytes } = attempt(3, ['a', 'b', 'c'], ['b', 'c'])
    expect(suspects.failed(blocks, bytes)).toBeUndefined()
    expect(suspects.isSuspect(3)).toBe(true)
    expect(suspects.resolved(3, right)).toEqual(new Set(['b', 'c']))
  })

  test('every attempt counts', () => {
    const suspects = new PieceSuspects<string>()
    for (const [senders, liar] of [
      [['a', 'b', 'b'], 'a'],
      [['b', 'c', 'd'], 'd'],
    ] as const) {
      const { blocks, bytes } = attempt(0, senders, [liar])
      suspects.failed(blocks, bytes)
    }
    expect(suspects.failures(0)).toBe(2)
    expect(suspects.resolved(0, right)).toEqual(new Set(['a', 'd']))
  })

  test('what is resolved is forgotten', () => {
    const suspects = new PieceSuspects<string>()
    const { blocks, bytes } = attempt(1, ['a', 'b', 'b'], ['a'])
    suspects.failed(blocks, bytes)
    suspects.resolved(1, right)
    expect(suspects.isSuspect(1)).toBe(false)
    expect(suspects.failures(1)).toBe(0)
    expect(suspects.resolved(1, right)).toEqual(new Set())
  })

  test('the buffer may be used again at once', () => {
    const suspects = new PieceSuspects<string>()
    const { blocks, bytes } = attempt(1, ['a', 'b', 'b'], ['b'])
    suspects.failed(blocks, bytes)
    bytes.fill(0)
    expect(suspects.resolved(1, right)).toEqual(new Set(['b']))
  })
})
