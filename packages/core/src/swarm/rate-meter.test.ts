import { describe, expect, test } from 'vitest'
import { RateMeter } from './rate-meter.ts'

describe('RateMeter', () => {
  test('is nothing before anything came', () => {
    const meter = new RateMeter()
    expect(meter.perSecond(1e6)).toBe(0)
    expect(meter.total).toBe(0)
  })

  test.each([0, 123_456.7])('settles at a steady rate, with a clock that begins at %d', (since) => {
    const meter = new RateMeter()
    for (let ms = 0; ms < 20_000; ms += 10) meter.add(1000, since + ms)
    expect(meter.perSecond(since + 20_000)).toBeGreaterThan(95_000)
    expect(meter.perSecond(since + 20_000)).toBeLessThan(105_000)
    expect(meter.total).toBe(2_000_000)
  })

  test('is about right already within the first second', () => {
    const meter = new RateMeter()
    for (let ms = 0; ms < 500; ms += 10) meter.add(1000, 777_700 + ms)
    expect(meter.perSecond(778_200)).toBeGreaterThan(80_000)
    expect(meter.perSecond(778_200)).toBeLessThan(120_000)
  })

  test('a single block is no burst of gigabytes', () => {
    const meter = new RateMeter()
    meter.add(16_384, 5000)
    expect(meter.perSecond(5000)).toBeLessThanOrEqual(4 * 16_384)
  })

  test('falls to nothing once nothing comes, and rises again', () => {
    const meter = new RateMeter()
    for (let ms = 0; ms < 5000; ms += 10) meter.add(1000, ms)
    const before = meter.perSecond(5000)
    expect(meter.perSecond(7000)).toBeLessThan(before * 0.8)
    expect(meter.perSecond(10_001)).toBe(0)
    expect(meter.perSecond(1e9)).toBe(0)
    expect(meter.total).toBe(500_000)
    for (let ms = 0; ms < 6000; ms += 10) meter.add(1000, 1e9 + ms)
    expect(meter.perSecond(1e9 + 6000)).toBeGreaterThan(90_000)
    expect(meter.perSecond(1e9 + 6000)).toBeLessThan(110_000)
  })
})
