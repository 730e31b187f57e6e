import { describe, expect, test } from 'vitest'
import { BufferPool, isShared } from './buffer-pool.ts'

describe('BufferPool', () => {
  test('a buffer is shared memory of its own', () => {
    const bytes = new BufferPool(100).take(10)
    expect(bytes).toHaveLength(10)
    expect(isShared(bytes)).toBe(true)
  })

  test('what was given back is used again, for the same length only', () => {
    const pool = new BufferPool(100)
    const bytes = pool.take(10)
    pool.give(bytes)
    expect(pool.take(11)).not.toBe(bytes)
    expect(pool.take(10)).toBe(bytes)
    expect(pool.take(10)).not.toBe(bytes)
  })

  test('keeps no more than it may', () => {
    const pool = new BufferPool(25)
    const all = [pool.take(10), pool.take(10), pool.take(10)]
    for (const bytes of all) pool.give(bytes)
    expect([pool.take(10), pool.take(10)].every((bytes) => all.includes(bytes))).toBe(true)
    expect(all).not.toContain(pool.take(10))
    pool.give(all[0] as Uint8Array)
    expect(pool.take(10)).toBe(all[0])
  })

  test.each([
    ['plain memory', new Uint8Array(10)],
    ['a part of shared memory', new Uint8Array(new SharedArrayBuffer(20), 0, 10)],
    ['nothing', new Uint8Array(new SharedArrayBuffer(0))],
  ])('%s is left alone', (_, bytes) => {
    const pool = new BufferPool(100)
    pool.give(bytes)
    expect(pool.take(bytes.length)).not.toBe(bytes)
  })
})
