import { afterEach, describe, expect, test } from 'vitest'
import {
  startTracker,
  type TestTracker,
  type TrackerOptions,
} from '../../../../test/support/tracker.ts'
import { discoveryConformance } from '../conformance/discovery.ts'
import type { IsthmusError } from '../errors.ts'
import { createLimits } from '../limits.ts'
import { parseInfoHash, torrentIdOf } from '../metainfo/info-hash.ts'
import { AddressPolicy } from '../net/address-policy.ts'
import { EgressGuard } from '../net/egress-guard.ts'
import { TrackerDiscovery, type TrackerDiscoveryOptions } from './tracker-discovery.ts'

const opened: { close(): Promise<void> }[] = []
afterEach(async () => {
  // Those that were opened last may still talk to those that were opened first.
  for (const thing of opened.splice(0).reverse()) await thing.close()
})

async function openTracker(options?: TrackerOptions): Promise<TestTracker> {
  const tracker = await startTracker(options)
  opened.push(tracker)
  return tracker
}

const id = torrentIdOf(parseInfoHash('ab'.repeat(20)))
const totals = { uploaded: 1, downloaded: 2, left: 3 }
const guard = new EgressGuard({ policy: new AddressPolicy({ allow: ['127.0.0.1'] }) })
const dead = 'http://127.0.0.1:1/announce'

interface Opened {
  readonly discovery: TrackerDiscovery
  readonly warnings: [IsthmusError, string][]
  /** Delays of the timers that run, and what they will do. */
  readonly timers: Map<() => void, number>
  /** Lets the only timer run out. */
  elapse(): void
}

function openDiscovery(
  trackers: readonly (readonly string[])[],
  options: Partial<TrackerDiscoveryOptions> = {},
): Opened {
  const warnings: [IsthmusError, string][] = []
  const timers = new Map<() => void, number>()
  const discovery = new TrackerDiscovery({
    trackers,
    guard,
    peerId: Buffer.from('-IS0001-abcdefghijkl'),
    port: () => 6881,
    totals: () => ({ uploaded: 10, downloaded: 20, left: 30 }),
    onWarning: (error, tracker) => warnings.push([error, tracker]),
    random: () => 0.99,
    schedule: (run, delayMs) => {
      timers.set(run, delayMs)
      return () => timers.delete(run)
    },
    ...options,
  })
  opened.push(discovery)
  const elapse = () => {
    const [run] = timers.keys()
    expect(timers.size).toBe(1)
    timers.clear()
    run?.()
  }
  return { discovery, warnings, timers, elapse }
}

const events = (tracker: TestTracker) => tracker.announces.map(({ event }) => event)
const failedWith = (code: string) => expect.objectContaining({ code })

describe('conformance', () => {
  for (const transport of ['httpUrl', 'udpUrl'] as const) {
    const cases = discoveryConformance(async () => {
      const tracker = await startTracker()
      let port = 7000
      return {
        join: async () => {
          const ours = ++port
          const { discovery } = openDiscovery([[tracker[transport]]], { port: () => ours })
          return { discovery, address: { host: '127.0.0.1', port: ours } }
        },
        close: () => tracker.close(),
      }
    })
    for (const { name, run } of cases) test(`${transport}: ${name}`, run)
  }
})

describe('announcing to trackers', () => {
  test('goes on at the interval that the tracker asks for', async () => {
    const tracker = await openTracker({ interval: 900, minInterval: 1000 })
    const { discovery, timers, elapse } = openDiscovery([[tracker.httpUrl]])
    await discovery.announce(id, 'started', { totals })
    expect([...timers.values()]).toEqual([1_000_000])
    elapse()
    await tracker.seen(2)
    expect(tracker.announces).toMatchObject([
      { event: 'started', uploaded: 1, downloaded: 2, left: 3, numWant: 50 },
      { event: 'update', uploaded: 10, downloaded: 20, left: 30, numWant: 50 },
    ])
    expect(tracker.announces[0]?.key).toBe(tracker.announces[1]?.key)
  })

  test('keeps what the tracker called itself', async () => {
    const tracker = await openTracker({ fields: { 'tracker id': 'it' } })
    const { discovery } = openDiscovery([[tracker.httpUrl]])
    await discovery.announce(id, 'started', { totals })
    await discovery.announce(id, 'update', { totals })
    expect(tracker.announces.map(({ trackerId }) => trackerId)).toEqual([undefined, 'it'])
  })

  test('asks the next tier only when all of a tier failed', async () => {
    const [first, second, third] = [await openTracker(), await openTracker(), await openTracker()]
    const { discovery, warnings } = openDiscovery([
      [dead, first.httpUrl],
      [second.httpUrl, third.udpUrl],
    ])
    await discovery.announce(id, 'started', { totals })
    expect([first, second, third].map(events)).toEqual([['started'], [], []])
    expect(warnings).toMatchObject([[{ code: 'ISTHMUS_FETCH_FAILED' }, dead]])
    first.misbehave({ kind: 'refuse', reason: 'busy' })
    second.misbehave({ kind: 'body', body: 'garbage' })
    await discovery.announce(id, 'update', { totals })
    expect([first, second, third].map(events)).toEqual([
      ['started', 'update'],
      ['started'],
      ['started'],
    ])
  })

  test('asks first who answered last in a tier', async () => {
    const tracker = await openTracker()
    const { discovery, warnings } = openDiscovery([[dead, tracker.httpUrl]])
    await discovery.announce(id, 'started', { totals })
    expect(discovery.status.map(({ url }) => url)).toEqual([tracker.httpUrl, dead])
    await discovery.announce(id, 'update', { totals })
    expect(warnings.length).toBe(1)
  })

  test('rejects when nobody took it, and tries again ever more rarely', async () => {
    const { discovery, timers, elapse } = openDiscovery([[dead]])
    const failing = discovery.announce(id, 'started', { totals })
    await expect(failing).rejects.toEqual(failedWith('ISTHMUS_TRACKER_FAILED'))
    const delays = [...timers.values()]
    for (let round = 0; round < 8; round++) {
      elapse()
      await expect(discovery.announce(id, 'started', { totals })).rejects.toThrow()
      delays.push(...timers.values())
    }
    expect(delays[0]).toBe(15_000)
    expect(delays).toEqual([...delays].sort((a, b) => a - b))
    expect(delays.at(-1)).toBe(1_800_000)
  })

  test('comes back to the interval once a tracker answers', async () => {
    const tracker = await openTracker()
    tracker.misbehave({ kind: 'body', body: '', status: 500 })
    const { discovery, timers } = openDiscovery([[tracker.httpUrl]])
    await expect(discovery.announce(id, 'started', { totals })).rejects.toThrow()
    expect([...timers.values()]).toEqual([15_000])
    tracker.misbehave()
    await discovery.announce(id, 'update', { totals })
    expect([...timers.values()]).toEqual([1_800_000])
    // It has not taken the first one, so that this one begins.
    expect(events(tracker)).toEqual(['started', 'started'])
  })

  test('tells that the download was completed once', async () => {
    const tracker = await openTracker()
    const { discovery } = openDiscovery([[tracker.udpUrl]])
    await discovery.announce(id, 'started', { totals })
    await Promise.all([1, 2].map(() => discovery.announce(id, 'completed', { totals })))
    await discovery.announce(id, 'completed', { totals })
    expect(events(tracker)).toEqual(['started', 'completed'])
  })

  test('tells later that the download was completed where it failed at first', async () => {
    const tracker = await openTracker()
    const { discovery, elapse } = openDiscovery([[tracker.httpUrl]])
    await discovery.announce(id, 'started', { totals })
    tracker.misbehave({ kind: 'refuse', reason: 'busy' })
    await expect(discovery.announce(id, 'completed', { totals })).rejects.toThrow()
    tracker.misbehave()
    elapse()
    await tracker.seen(3)
    expect(events(tracker)).toEqual(['started', 'completed', 'completed'])
  })

  test('passes warnings and failures on, and shows them', async () => {
    const tracker = await openTracker({ fields: { 'warning message': 'slow down' } })
    const { discovery, warnings } = openDiscovery([['wss://x/'], [dead], [tracker.httpUrl]])
    await discovery.announce(id, 'started', { totals })
    expect(warnings).toMatchObject([
      [{ code: 'ISTHMUS_URL_INVALID' }, 'wss://x/'],
      [{ code: 'ISTHMUS_FETCH_FAILED' }, dead],
      [{ code: 'ISTHMUS_TRACKER_FAILED' }, tracker.httpUrl],
    ])
    expect(discovery.status).toEqual([
      { url: dead, tier: 0, state: 'failed', message: '127.0.0.1:1 could not be reached' },
      {
        url: tracker.httpUrl,
        tier: 1,
        state: 'working',
        message: 'slow down',
        seeders: 0,
        leechers: 1,
        peers: 0,
      },
    ])
  })

  test('is denied where the guard denies', async () => {
    const tracker = await openTracker()
    const strict = { guard: new EgressGuard() }
    const { discovery, warnings } = openDiscovery([[tracker.httpUrl], [tracker.udpUrl]], strict)
    await expect(discovery.announce(id, 'started', { totals })).rejects.toThrow()
    expect(warnings.map(([{ code }]) => code)).toEqual([
      'ISTHMUS_EGRESS_DENIED',
      'ISTHMUS_EGRESS_DENIED',
    ])
    expect([tracker.connects, tracker.announces.length]).toEqual([0, 0])
  })

  test('rejects where there is no tracker', async () => {
    const { discovery, timers } = openDiscovery([])
    const announcing = discovery.announce(id, 'started', { totals })
    await expect(announcing).rejects.toEqual(failedWith('ISTHMUS_DISCOVERY_FAILED'))
    expect(timers.size).toBe(0)
  })
})

describe('trackers that are added', () => {
  test('hear at once of a torrent that is announced already', async () => {
    const [first, second] = [await openTracker(), await openTracker()]
    const { discovery, timers } = openDiscovery([[first.httpUrl]])
    await discovery.announce(id, 'started', { totals })
    discovery.addTrackers([second.udpUrl, first.httpUrl])
    await second.seen(1)
    expect(events(second)).toEqual(['started'])
    expect(events(first)).toEqual(['started'])
    expect([...timers.values()]).toEqual([1_800_000])
  })

  test('begin the regular announces where there was no tracker', async () => {
    const tracker = await openTracker({ interval: 600 })
    const { discovery, timers } = openDiscovery([])
    await expect(discovery.announce(id, 'started', { totals })).rejects.toThrow()
    discovery.addTrackers([tracker.httpUrl])
    await discovery.announce(id, 'update', { totals })
    expect(events(tracker)).toEqual(['started', 'update'])
    expect([...timers.values()]).toEqual([600_000])
  })

  test('hear nothing of a torrent that was stopped', async () => {
    const tracker = await openTracker()
    const { discovery } = openDiscovery([])
    await expect(discovery.announce(id, 'started', { totals })).rejects.toThrow()
    await discovery.announce(id, 'stopped', { totals })
    discovery.addTrackers([tracker.httpUrl])
    await discovery.close()
    expect(events(tracker)).toEqual([])
  })
})

describe('finding peers', () => {
  test('yields those of every reply, and the known ones to whoever comes later', async () => {
    const tracker = await openTracker()
    const others = [1, 2].map((port) => openDiscovery([[tracker.httpUrl]], { port: () => port }))
    const { discovery } = openDiscovery([[tracker.httpUrl]])
    const peers = discovery.find(id, {})
    const ports: number[] = []
    for (const other of others) {
      const next = peers.next()
      await other.discovery.announce(id, 'started', { totals })
      await discovery.announce(id, 'update', { totals })
      ports.push((await next).value?.port)
    }
    // The first one is in the second reply too.
    expect(ports).toEqual([1, 1])
    expect((await peers.next()).value?.port).toBe(2)
    await peers.return(undefined)
    expect(discovery.status).toMatchObject([{ peers: 2 }])
  })

  test('holds no more peers than the limit for a consumer who does not come', async () => {
    const tracker = await openTracker()
    const swarm = Uint8Array.from({ length: 600 }, (_, i) => (i % 6 === 5 ? i / 6 : 1))
    tracker.misbehave({
      kind: 'datagram',
      action: 1,
      rest: Buffer.concat([Buffer.alloc(12), swarm]),
    })
    const limits = createLimits({ knownPeers: 5 })
    const { discovery } = openDiscovery([[tracker.udpUrl]], { limits })
    await discovery.announce(id, 'started', { totals })
    const controller = new AbortController()
    let count = 0
    for await (const _ of discovery.find(id, { signal: controller.signal })) {
      if (++count === 5) setImmediate(() => controller.abort())
    }
    expect(count).toBe(5)
  })
})

describe('stopping', () => {
  test('says good-bye and ends the regular announces', async () => {
    const tracker = await openTracker()
    const { discovery, timers } = openDiscovery([[tracker.httpUrl]])
    await discovery.announce(id, 'started', { totals })
    await discovery.announce(id, 'stopped', { totals })
    expect(tracker.announces[1]).toMatchObject({ event: 'stopped', numWant: 0, left: 3 })
    expect(tracker.peersOf('ab'.repeat(20))).toEqual([])
    expect(timers.size).toBe(0)
  })

  test('overtakes an announce that waits, and tells the tracker that may have heard it', async () => {
    const tracker = await openTracker()
    tracker.misbehave({ kind: 'silence' })
    const { discovery } = openDiscovery([[tracker.httpUrl]])
    const starting = discovery.announce(id, 'started', { totals })
    const rejected = expect(starting).rejects.toEqual(failedWith('ISTHMUS_DISCOVERY_FAILED'))
    await tracker.seen(1)
    tracker.misbehave()
    await discovery.announce(id, 'stopped', { totals })
    await rejected
    expect(events(tracker)).toEqual(['started', 'stopped'])
  })

  test('may be followed by another start', async () => {
    const tracker = await openTracker()
    const { discovery, timers } = openDiscovery([[tracker.httpUrl]])
    for (const event of ['started', 'stopped', 'started'] as const) {
      await discovery.announce(id, event, { totals })
    }
    expect(events(tracker)).toEqual(['started', 'stopped', 'started'])
    expect(timers.size).toBe(1)
  })

  test('tells nobody when nobody knows', async () => {
    const { discovery } = openDiscovery([[dead]])
    await discovery.announce(id, 'stopped', { totals })
  })

  test('comes with closing, for every torrent', async () => {
    const tracker = await openTracker()
    const { discovery, timers } = openDiscovery([[tracker.udpUrl]])
    const other = torrentIdOf(parseInfoHash('cd'.repeat(20)))
    await discovery.announce(id, 'started', { totals })
    await discovery.announce(other, 'started', { totals })
    await Promise.all([discovery.close(), discovery.close()])
    expect(events(tracker).sort()).toEqual(['started', 'started', 'stopped', 'stopped'])
    expect(timers.size).toBe(0)
  })

  test('does not wait long for a tracker that is silent', async () => {
    const tracker = await openTracker()
    const { discovery } = openDiscovery([[tracker.httpUrl]], { stoppedTimeoutMs: 50 })
    await discovery.announce(id, 'started', { totals })
    tracker.misbehave({ kind: 'silence' })
    await discovery.close()
    expect(events(tracker)).toEqual(['started', 'stopped'])
  })
})
