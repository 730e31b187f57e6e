import { describe, expect, test } from 'vitest'
import { recyclePieceBuffer, takePieceBuffer } from './buffer-pool.ts'
import { PieceCache } from './piece-cache.ts'

const turn = () => new Promise<void>((resolve) => setImmediate(resolve))

/** The pool has nothing of this length but what the test gave it. */
function piece(length: number, fill: number): Uint8Array {
  return new Uint8Array(new SharedArrayBuffer(length)).fill(fill)
}

/** What the pool hands out next of this length, up to `count`, if it had it already. */
function pooled(length: number, known: readonly Uint8Array[]): Uint8Array[] {
  const taken = known.map(() => takePieceBuffer(length))
  return taken.filter((bytes) => known.includes(bytes))
}

describe('PieceCache', () => {
  test('holds pieces by owner and number', () => {
    const cache = new PieceCache(1000)
    const [a, b] = [piece(101, 1), piece(101, 2)]
    cache.put(1, 7, a)
    cache.put(2, 7, b)
    expect(cache.get(1, 7)).toBe(a)
    expect(cache.get(2, 7)).toBe(b)
    expect(cache.get(1, 8)).toBeUndefined()
    expect(cache.heldBytes).toBe(202)
  })

  test('lets go of the least recently used when it is full', () => {
    const cache = new PieceCache(310)
    for (const number of [0, 1, 2]) cache.put(1, number, piece(102, number))
    cache.get(1, 0)
    cache.put(1, 3, piece(102, 3))
    expect([0, 1, 2, 3].map((number) => cache.get(1, number) !== undefined)).toEqual([
      true,
      false,
      true,
      true,
    ])
    expect(cache.heldBytes).toBe(306)
  })

  test('a piece that is larger than all of it is not held, and drives nothing out', () => {
    const cache = new PieceCache(200)
    cache.put(1, 0, piece(103, 0))
    cache.put(1, 1, piece(201, 1))
    expect(cache.get(1, 1)).toBeUndefined()
    expect(cache.get(1, 0)).toBeDefined()
  })

  test('what it let go of is used again, but not in the same turn', async () => {
    const cache = new PieceCache(1000)
    const bytes = piece(104, 9)
    cache.put(1, 0, bytes)
    const handedOut = cache.get(1, 0)
    cache.delete(1, 0)
    expect(pooled(104, [bytes])).toEqual([])
    expect(handedOut?.[0]).toBe(9)
    await turn()
    expect(pooled(104, [bytes])).toEqual([bytes])
  })

  test('forgets all of one owner', () => {
    const cache = new PieceCache(1000)
    for (const owner of [1, 2]) {
      for (const number of [0, 1]) cache.put(owner, number, piece(105, owner))
    }
    cache.deleteAll(1, 2)
    expect(cache.get(1, 0)).toBeUndefined()
    expect(cache.get(2, 1)).toBeDefined()
    expect(cache.heldBytes).toBe(210)
  })

  test('what a storage still looks at is not used again, whatever becomes of its place', async () => {
    const cache = new PieceCache(1000)
    const bytes = piece(106, 1)
    let release = () => {}
    const lent = cache.lend(1, 0, bytes, async () => {
      cache.put(1, 0, bytes)
      cache.delete(1, 0)
      await new Promise<void>((resolve) => {
        release = resolve
      })
    })
    await turn()
    expect(pooled(106, [bytes])).toEqual([])
    release()
    await lent
    await turn()
    expect(pooled(106, [bytes, bytes])).toEqual([bytes])
  })

  test('what was lent stays in the cache where it was put, and is let go of once', async () => {
    const cache = new PieceCache(1000)
    const bytes = piece(107, 1)
    await cache.lend(1, 0, bytes, async () => cache.put(1, 0, bytes))
    await turn()
    expect(cache.get(1, 0)).toBe(bytes)
    expect(pooled(107, [bytes])).toEqual([])
    cache.delete(1, 0)
    await turn()
    expect(pooled(107, [bytes, bytes])).toEqual([bytes])
  })

  test('a failure of who borrows comes through, and the bytes are used again', async () => {
    const cache = new PieceCache(1000)
    const bytes = piece(108, 1)
    await expect(cache.lend(1, 0, bytes, () => Promise.reject(new Error('full')))).rejects.toThrow(
      'full',
    )
    await turn()
    expect(pooled(108, [bytes])).toEqual([bytes])
  })

  test('the pool of the tests is empty at these lengths', () => {
    recyclePieceBuffer(piece(109, 1))
    expect(takePieceBuffer(109)[0]).toBe(1)
    expect(takePieceBuffer(109)[0]).toBe(0)
  })
})
