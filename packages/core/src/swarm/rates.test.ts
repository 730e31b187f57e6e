import { setTimeout } from 'node:timers/promises'
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { addressOf, openClient, seed } from '../../../../test/support/loopback-clients.ts'
import { makeTorrent, randomBytes } from '../../../../test/support/torrents.ts'
import type { Torrent } from '../torrent.ts'
import { type PeerRates, SharedRates } from './rates.ts'

const BLOCK = 16_384
const MB = 1_000_000

/** A peer that always has something to send, a block at a time. */
class EagerPeer {
  sent = 0
  stopped = false
  readonly rates: PeerRates
  readonly #torrent: SharedRates

  constructor(torrent: SharedRates) {
    this.#torrent = torrent
    this.rates = torrent.addPeer({ download: () => {}, upload: () => this.send() })
  }

  send(): void {
    const { upload } = this.rates
    while (!this.stopped) {
      const allowance = upload.allowance()
      if (allowance === 0) return
      if (allowance === Number.POSITIVE_INFINITY) throw new Error('without a limit there is no end')
      upload.spend(BLOCK)
      this.sent += BLOCK
    }
  }

  leave(): void {
    this.stopped = true
    this.#torrent.removePeer(this.rates)
  }
}

describe('what is limited', () => {
  beforeEach(() => void vi.useFakeTimers())
  afterEach(() => void vi.useRealTimers())

  const eager = (torrent: SharedRates, count: number) => {
    const peers = Array.from({ length: count }, () => new EagerPeer(torrent))
    for (const peer of peers) peer.send()
    return peers
  }
  const sum = (peers: readonly EagerPeer[]) => peers.reduce((all, { sent }) => all + sent, 0)
  const expectAbout = (value: number, expected: number) => {
    expect(value / expected).toBeGreaterThan(0.93)
    expect(value / expected).toBeLessThan(1.07)
  }

  test('is shared fairly between torrents, however many peers each has', () => {
    const client = new SharedRates()
    client.upload = MB
    const one = eager(new SharedRates(client), 1)
    const ten = eager(new SharedRates(client), 10)
    vi.advanceTimersByTime(10_000)
    expectAbout(sum(one), 5 * MB)
    expectAbout(sum(ten), 5 * MB)
    for (const { sent } of ten) expect(sent).toBeGreaterThan(0.4 * MB)
  })

  test('owes nothing to who comes later', () => {
    const client = new SharedRates()
    client.upload = MB
    const early = new EagerPeer(new SharedRates(client))
    // A while below the limit, when nobody has to wait.
    for (let step = 0; step < 1000; step++) {
      vi.advanceTimersByTime(100)
      expect(early.rates.upload.allowance()).toBeGreaterThan(0)
      early.rates.upload.spend(MB / 20)
    }
    early.send()
    const late = eager(new SharedRates(client), 1)
    vi.advanceTimersByTime(10_000)
    expectAbout(early.sent, 5 * MB)
    expectAbout(sum(late), 5 * MB)
  })

  test('at one torrent leaves the rest to others', () => {
    const client = new SharedRates()
    client.upload = MB
    const slow = new SharedRates(client)
    slow.upload = MB / 5
    const limited = eager(slow, 3)
    const free = eager(new SharedRates(client), 1)
    vi.advanceTimersByTime(10_000)
    expectAbout(sum(limited), 2 * MB)
    expectAbout(sum(free), 8 * MB)
  })

  test('for each peer holds for each, and the lower one of client and torrent', () => {
    const client = new SharedRates()
    const torrent = new SharedRates(client)
    torrent.uploadPerPeer = MB / 5
    client.uploadPerPeer = MB / 10
    const peers = eager(torrent, 4)
    vi.advanceTimersByTime(5000)
    for (const { sent } of peers) expectAbout(sent, MB / 2)
    client.uploadPerPeer = MB
    vi.advanceTimersByTime(5000)
    for (const { sent } of peers) expectAbout(sent, 1.5 * MB)
  })

  test('may be changed while somebody waits', () => {
    const client = new SharedRates()
    client.upload = 0
    const peers = eager(new SharedRates(client), 2)
    vi.advanceTimersByTime(10_000)
    expect(sum(peers)).toBe(0)
    client.upload = MB
    vi.advanceTimersByTime(2000)
    expectAbout(sum(peers), 2 * MB)
    const before = sum(peers)
    client.upload = MB / 10
    vi.advanceTimersByTime(10_000)
    expectAbout(sum(peers) - before, MB)
  })

  test('is not held up by who leaves, and leaves no timer behind', () => {
    const client = new SharedRates()
    client.upload = MB
    const torrent = new SharedRates(client)
    const gone = eager(torrent, 3)
    const stays = eager(new SharedRates(client), 1)
    vi.advanceTimersByTime(1000)
    for (const peer of gone) peer.leave()
    torrent.close()
    const before = sum(stays)
    vi.advanceTimersByTime(4000)
    expectAbout(sum(stays) - before, 4 * MB)
    for (const peer of stays) peer.leave()
    client.close()
    vi.advanceTimersByTime(1000)
    expect(vi.getTimerCount()).toBe(0)
  })

  test.each([-1, Number.NaN])('is never %d', (rate) => {
    const rates = new SharedRates()
    for (const key of ['download', 'upload', 'downloadPerPeer', 'uploadPerPeer'] as const) {
      expect(() => rates.set({ [key]: rate })).toThrow(RangeError)
    }
  })
})

describe('over sockets', () => {
  const RATE = 4 * MB
  const made = (number: number) =>
    makeTorrent({
      name: `content ${number}`,
      files: randomBytes(12 * MB, number),
      pieceLength: 64 * 1024,
    })

  const someBytes = (torrent: Torrent) =>
    new Promise<void>((resolve) => torrent.once('verified', () => resolve()))

  /** Bytes per second of each torrent, over two seconds. */
  async function measure(torrents: readonly Torrent[]): Promise<number[]> {
    const before = torrents.map(({ downloaded }) => downloaded)
    const began = performance.now()
    await setTimeout(2000)
    const seconds = (performance.now() - began) / 1000
    return torrents.map(({ downloaded }, index) => (downloaded - (before[index] ?? 0)) / seconds)
  }

  const expectNear = (value: number, expected: number) => {
    expect(value / expected).toBeGreaterThan(0.85)
    expect(value / expected).toBeLessThan(1.15)
  }

  test.each(['upload', 'download'] as const)(
    'two torrents share a limit of the %s, and it can be lifted meanwhile',
    { timeout: 20_000 },
    async (direction) => {
      const limited = { rates: { [direction]: RATE } }
      const seeder = openClient(direction === 'upload' ? limited : {})
      const receiver = openClient(direction === 'download' ? limited : {})
      const contents = [made(1), made(2)]
      for (const content of contents) await seed(seeder, content)
      const peers = [addressOf(seeder)]
      const torrents = await Promise.all(
        contents.map(({ torrent }) => receiver.add(torrent, { peers })),
      )
      const downloads = Promise.all(torrents.map((torrent) => torrent.download()))
      await Promise.all(torrents.map(someBytes))
      const [first = 0, second = 0] = await measure(torrents)
      expectNear(first + second, RATE)
      expectNear(first / second, 1)
      expect(torrents.map(({ isComplete }) => isComplete)).toEqual([false, false])
      seeder.rates.upload = Number.POSITIVE_INFINITY
      receiver.rates.download = Number.POSITIVE_INFINITY
      const began = performance.now()
      await downloads
      // With the limit it would have been more than three seconds.
      expect(performance.now() - began).toBeLessThan(2500)
    },
  )
})
