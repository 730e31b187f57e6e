import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { RateLimit } from './rate-limit.ts'

function limitOf(bytesPerSecond: number): RateLimit {
  const limit = new RateLimit()
  limit.bytesPerSecond = bytesPerSecond
  return limit
}

describe('a rate limit', () => {
  test('is none at first', () => {
    const limit = new RateLimit()
    limit.spend(1e12, 0)
    expect(limit.isUnlimited).toBe(true)
    expect(limit.waitMs(0)).toBe(0)
  })

  test('lets something pass at once, and then waits until that is paid', () => {
    const limit = limitOf(1000)
    expect(limit.waitMs(5000)).toBe(0)
    limit.spend(500, 5000)
    expect(limit.waitMs(5000)).toBe(500)
    expect(limit.waitMs(5400)).toBeCloseTo(100)
    expect(limit.waitMs(5500)).toBe(0)
  })

  test('keeps what was not used for a quarter of a second, no longer', () => {
    const limit = limitOf(1000)
    limit.waitMs(0)
    expect(limit.waitMs(60_000)).toBe(0)
    limit.spend(250, 60_000)
    expect(limit.waitMs(60_000)).toBe(0)
    limit.spend(1, 60_000)
    expect(limit.waitMs(60_000)).toBe(1)
  })

  test('of nothing lets nothing pass until it is changed', () => {
    const limit = limitOf(0)
    expect(limit.waitMs(1e9)).toBe(Number.POSITIVE_INFINITY)
    limit.bytesPerSecond = 10
    expect(limit.waitMs(1e9)).toBe(0)
  })

  test('forgives what was owed when it is changed', () => {
    const limit = limitOf(10)
    limit.spend(1e6, 0)
    limit.bytesPerSecond = 20
    expect(limit.waitMs(0)).toBe(0)
  })

  test('takes back what did not pass', () => {
    const limit = limitOf(1000)
    limit.spend(1000, 0)
    limit.refund(600)
    expect(limit.waitMs(0)).toBe(400)
  })

  test.each([-1, Number.NaN, Number.NEGATIVE_INFINITY])('is not %d', (bytesPerSecond) => {
    expect(() => limitOf(bytesPerSecond)).toThrow(RangeError)
  })

  test('is kept on average, whatever is asked for and when', () => {
    const step = fc.record({ ms: fc.nat(400), bytes: fc.integer({ min: 1, max: 5000 }) })
    fc.assert(
      fc.property(
        fc.integer({ min: 1000, max: 100_000 }),
        fc.array(step, { maxLength: 200 }),
        (bytesPerSecond, steps) => {
          const limit = limitOf(bytesPerSecond)
          let now = 1000
          let passed = 0
          for (const { ms, bytes } of steps) {
            now += ms
            if (limit.waitMs(now) > 0) continue
            limit.spend(bytes, now)
            passed += bytes
          }
          const allowed = (bytesPerSecond * (now - 1000)) / 1000
          expect(passed).toBeLessThanOrEqual(allowed + bytesPerSecond / 4 + 5000)
        },
      ),
    )
  })
})
