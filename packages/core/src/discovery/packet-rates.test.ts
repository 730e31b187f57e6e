import { describe, expect, test } from 'vitest'
import { PacketRates, TokenBucket } from './packet-rates.ts'

function count(times: number, admits: () => boolean): number {
  return Array.from({ length: times }, admits).filter(Boolean).length
}

describe('a token bucket', () => {
  test('lets five seconds of its rate through at once, then its rate', () => {
    let ms = 0
    const bucket = new TokenBucket(10, () => ms)
    expect(count(100, () => bucket.take())).toBe(50)
    ms += 100
    expect(count(100, () => bucket.take())).toBe(1)
    ms += 3_600_000
    expect(count(100, () => bucket.take())).toBe(50)
  })

  test('gains nothing by a clock that goes back', () => {
    let ms = 1000
    const bucket = new TokenBucket(1, () => ms)
    expect(count(10, () => bucket.take())).toBe(5)
    ms = 0
    expect(bucket.take()).toBe(false)
    ms = 1000
    expect(count(10, () => bucket.take())).toBe(1)
  })
})

describe('the rates of datagrams', () => {
  const rates = () => new PacketRates({ sourcePerSecond: 2, totalPerSecond: 4, now: () => 0 })

  test.each([
    ['192.0.2.1', '192.0.2.255', '192.0.3.1'],
    ['2001:db8:0:1::1', '2001:db8:0:1:ffff::', '2001:db8:0:2::1'],
  ])('count %s and %s as one source, and %s as another', (host, same, other) => {
    const packets = rates()
    expect(count(20, () => packets.admits(host))).toBe(10)
    expect(packets.admits(same)).toBe(false)
    expect(count(20, () => packets.admits(other))).toBe(10)
    expect(packets.admits('198.51.100.1')).toBe(false)
  })

  test('keep nobody out who is expected, within the rate of a source', () => {
    const packets = rates()
    for (let i = 0; i < 10; i++) count(10, () => packets.admits(`192.0.${i}.1`))
    expect(count(20, () => packets.admits('198.51.100.1', true))).toBe(10)
  })
})
