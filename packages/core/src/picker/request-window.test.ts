import { describe, expect, test } from 'vitest'
import { RequestWindow } from './request-window.ts'

const BLOCK = 16_384

interface Path {
  readonly roundTripMs: number
  /** Of the bottleneck, which queues what comes faster. */
  readonly bytesPerSecond: number
}

/** A peer that is asked for as much as the window allows, for so long; answers the sizes on the way. */
function run(window: RequestWindow, path: Path, fromMs: number, toMs: number): number[] {
  const blockMs = (BLOCK / path.bytesPerSecond) * 1000
  const sizes: number[] = []
  const underWay: { askedAt: number; doneAt: number }[] = []
  let now = fromMs
  let freeAt = now
  while (now < toMs) {
    while (underWay.length < window.size) {
      freeAt = Math.max(freeAt, now + path.roundTripMs / 2) + blockMs
      underWay.push({ askedAt: now, doneAt: freeAt + path.roundTripMs / 2 })
    }
    const first = underWay.shift()
    if (first === undefined) throw new Error('nothing is under way')
    now = first.doneAt
    window.answered(now - first.askedAt, now)
    sizes.push(window.size)
  }
  return sizes
}

/** Blocks that fill the path. */
function bandwidthDelay({ roundTripMs, bytesPerSecond }: Path): number {
  return ((bytesPerSecond / BLOCK) * roundTripMs) / 1000
}

describe('RequestWindow', () => {
  test('starts with a few requests and no idea of the round trip', () => {
    const window = new RequestWindow({ atMost: 500 })
    expect(window.size).toBe(16)
    expect(window.roundTripMs).toBeUndefined()
  })

  test.each<Path>([
    { roundTripMs: 20, bytesPerSecond: 50e6 },
    { roundTripMs: 100, bytesPerSecond: 20e6 },
    { roundTripMs: 5, bytesPerSecond: 400e6 },
  ])('fills a path of $roundTripMs ms and $bytesPerSecond B/s within a second', (path) => {
    const window = new RequestWindow({ atMost: 500 })
    const sizes = run(window, path, 0, 1000)
    expect(sizes.at(-1)).toBeGreaterThanOrEqual(bandwidthDelay(path))
  })

  test('what queues at a slow peer stays near the allowed queue', () => {
    const path = { roundTripMs: 50, bytesPerSecond: 1e6 }
    const window = new RequestWindow({ atMost: 500, queueMs: 40 })
    run(window, path, 0, 5000)
    const queued = run(window, path, 5000, 9000)
    const most = bandwidthDelay({ ...path, roundTripMs: 50 + 2 * 40 })
    expect(Math.max(...queued)).toBeLessThanOrEqual(Math.ceil(most))
  })

  test('shrinks when answers begin to queue, at most to half per round trip', () => {
    const window = new RequestWindow({ atMost: 500 })
    for (let now = 0; now < 200; now++) window.answered(10, now)
    const before = window.size
    expect(before).toBeGreaterThan(200)
    window.answered(1000, 2000)
    expect(window.size).toBe(Math.floor(before / 2))
    // The rest of the same round trip says nothing new.
    for (let now = 2001; now < 2900; now += 10) window.answered(1000, now)
    expect(window.size).toBe(Math.floor(before / 2))
    window.answered(1000, 3001)
    expect(window.size).toBe(Math.floor(before / 4))
  })

  test('keeps a few requests however slow the peer is', () => {
    const window = new RequestWindow({ atMost: 500 })
    window.answered(1, 0)
    for (let now = 500; now < 9000; now += 500) window.answered(499, now)
    expect(window.size).toBe(4)
  })

  test('looks for the shortest wait anew when it was not seen for long, and goes on as before', () => {
    const window = new RequestWindow({ atMost: 500 })
    for (let now = 0; now < 100; now++) window.answered(10, now)
    const { size } = window
    window.answered(40, 11_000)
    expect(window.size).toBe(1)
    // What stood in the queue before says nothing about the path.
    window.answered(200, 11_100)
    expect(window.size).toBe(1)
    window.answered(30, 11_131)
    expect(window.roundTripMs).toBe(30)
    expect(window.size).toBeGreaterThanOrEqual(size)
  })

  test('grows one request per answer at first, and one per round trip after it shrank', () => {
    const window = new RequestWindow({ atMost: 500 })
    for (let count = 0; count < 10; count++) window.answered(10, count)
    expect(window.size).toBe(26)
    window.answered(500, 1000)
    const size = window.size
    for (let count = 0; count < size; count++) window.answered(10, 1001)
    expect(window.size).toBeLessThanOrEqual(size + 1)
  })

  test.each([1, 2, 3, 5, 16, 40])('never asks for more than the peer keeps: %i', (atMost) => {
    const window = new RequestWindow({ atMost })
    expect(window.size).toBeLessThanOrEqual(atMost)
    for (let now = 0; now < 100; now++) {
      window.answered(now % 7 === 0 ? 900 : 10, now * 1000)
      expect(window.size).toBeLessThanOrEqual(atMost)
      expect(window.size).toBeGreaterThanOrEqual(1)
    }
  })

  test('a limit that the peer tells later holds at once', () => {
    const window = new RequestWindow({ atMost: 500 })
    for (let now = 0; now < 100; now++) window.answered(10, now)
    window.limit(3)
    expect(window.size).toBe(3)
    window.answered(5000, 10_000)
    expect(window.size).toBeLessThanOrEqual(3)
    window.limit(0)
    expect(window.size).toBe(1)
  })

  test.each([250, 500])('fills a fast path to a peer that answers only every %i ms', (tickMs) => {
    const window = new RequestWindow({ atMost: 500 })
    const asked: number[] = []
    const perTick: number[] = []
    for (let now = 0; now < 20_000; now += tickMs / 5) {
      if (now % tickMs === 0) {
        perTick.push(asked.length)
        for (const askedAt of asked.splice(0)) window.answered(now - askedAt + 1, now)
      }
      while (asked.length < window.size) asked.push(now)
    }
    expect(Math.max(...perTick.slice(-20))).toBeGreaterThan(400)
  })

  test('a path that got longer is not mistaken for a queue for ever', () => {
    const window = new RequestWindow({ atMost: 500 })
    run(window, { roundTripMs: 10, bytesPerSecond: 100e6 }, 0, 2000)
    const path = { roundTripMs: 150, bytesPerSecond: 100e6 }
    const sizes = run(window, path, 2000, 60_000)
    expect(window.roundTripMs).toBeGreaterThanOrEqual(150)
    expect(sizes.at(-1)).toBeGreaterThan(100)
  })

  test('the queue at a slow peer does not creep up over minutes', () => {
    const path = { roundTripMs: 50, bytesPerSecond: 1e6 }
    const window = new RequestWindow({ atMost: 500 })
    const sizes = run(window, path, 0, 300_000)
    expect(Math.max(...sizes.slice(sizes.length >> 1))).toBeLessThan(12)
  })
})
