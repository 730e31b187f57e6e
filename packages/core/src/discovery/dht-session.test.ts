import { describe, expect, test } from 'vitest'
import type { PeerAddress } from '../net/peer-address.ts'
import { DhtSession, type DhtSessionOptions } from './dht-session.ts'

const MINUTE = 60_000

/** A DHT of which a test says what it answers, and the time that passes there. */
class FakeDht {
  peers: readonly PeerAddress[] = []
  nodes = 8
  ms = 0
  readonly lookups: number[] = []
  readonly announces: number[] = []
  readonly timers = new Set<{ readonly at: number; readonly run: () => void }>()

  session(options: Partial<DhtSessionOptions> = {}): DhtSession {
    return new DhtSession({
      node: this,
      infoHash: new Uint8Array(20),
      peerPort: () => 6881,
      allows: () => true,
      maxPeers: 100,
      schedule: (run, delayMs) => {
        const timer = { at: this.ms + delayMs, run }
        this.timers.add(timer)
        return () => void this.timers.delete(timer)
      },
      now: () => this.ms,
      random: () => 0.999_999,
      ...options,
    })
  }

  async lookup(_: Uint8Array, onPeer: (peer: PeerAddress) => void): Promise<number> {
    this.lookups.push(Math.round(this.ms / MINUTE))
    for (const peer of this.peers) onPeer(peer)
    return this.nodes
  }

  async announce(_: Uint8Array, port: number): Promise<number> {
    expect(port).toBe(6881)
    this.announces.push(Math.round(this.ms / MINUTE))
    return this.nodes
  }

  /** Second by second. */
  async pass(minutes: number): Promise<void> {
    await settled()
    for (let second = 0; second < minutes * 60; second++) {
      this.ms += 1000
      for (const timer of [...this.timers]) {
        if (timer.at <= this.ms && this.timers.delete(timer)) timer.run()
      }
      await settled()
    }
  }
}

async function settled(): Promise<void> {
  for (let i = 0; i < 20; i++) await Promise.resolve()
}

function peers(count: number): PeerAddress[] {
  return Array.from({ length: count }, (_, i) => ({ host: '192.0.2.1', port: i + 1 }))
}

describe('the lookups and announces of a torrent', () => {
  test('come every 5 minutes while somebody looks', async () => {
    const dht = new FakeDht()
    dht.peers = peers(10)
    const session = dht.session()
    const feed = session.addFeed()
    await dht.pass(16)
    expect(dht.lookups).toEqual([0, 5, 10, 15])
    expect(dht.announces).toEqual([])
    session.removeFeed(feed)
    expect(session.isActive).toBe(false)
    expect(dht.timers.size).toBe(0)
  })

  test('come sooner while few were found, but ever later', async () => {
    const dht = new FakeDht()
    dht.peers = peers(9)
    dht.session().addFeed()
    await dht.pass(18)
    expect(dht.lookups).toEqual([0, 1, 3, 7, 12, 17])
  })

  test('come every 15 minutes where we are announced and nobody looks', async () => {
    const dht = new FakeDht()
    const session = dht.session()
    await session.announce('started', {})
    await session.announce('completed', {})
    await dht.pass(46)
    expect(dht.announces).toEqual([0, 15, 30, 45])
    expect(dht.lookups).toEqual(dht.announces)
    await session.announce('stopped', {})
    expect(session.isActive).toBe(false)
    expect(dht.timers.size).toBe(0)
  })

  test('are one round where somebody looks and we are announced', async () => {
    const dht = new FakeDht()
    dht.peers = peers(10)
    const session = dht.session()
    const announced = session.announce('started', {})
    session.addFeed()
    await announced
    await dht.pass(31)
    expect(dht.lookups).toEqual([0, 5, 10, 15, 20, 25, 30])
    expect(dht.announces).toEqual([0, 15, 30])
  })

  test('are tried again, ever later, while nobody answers', async () => {
    const dht = new FakeDht()
    dht.nodes = 0
    const at: number[] = []
    const { lookup } = dht
    dht.lookup = (infoHash, onPeer) => {
      at.push(dht.ms / 1000)
      return lookup.call(dht, infoHash, onPeer)
    }
    const session = dht.session()
    const announcing = session.announce('started', {})
    await expect(announcing).rejects.toMatchObject({ code: 'ISTHMUS_DISCOVERY_FAILED' })
    await dht.pass(16)
    expect(at).toEqual([0, 10, 30, 70, 150, 310, 610, 910])
    dht.nodes = 8
    await dht.pass(6)
    expect(dht.announces).toEqual([20])
  })

  test('an announce that comes while one is made is made again, once', async () => {
    const dht = new FakeDht()
    const session = dht.session()
    const updates: Promise<void>[] = []
    const { announce } = dht
    dht.announce = (infoHash, port) => {
      if (updates.length === 0) {
        updates.push(session.announce('update', {}), session.announce('update', {}))
      }
      return announce.call(dht, infoHash, port)
    }
    await session.announce('started', {})
    await Promise.all(updates)
    expect(dht.announces).toEqual([0, 0])
  })

  test('an update without a start is one announce', async () => {
    const dht = new FakeDht()
    const session = dht.session()
    await session.announce('update', {})
    await dht.pass(60)
    expect(dht.announces).toEqual([0])
    expect(session.isActive).toBe(false)
  })

  test('nothing is announced where nobody can reach us', async () => {
    const dht = new FakeDht()
    await dht.session({ peerPort: () => undefined }).announce('started', {})
    await dht.session({ peerPort: () => 0 }).announce('started', {})
    expect(dht.announces).toEqual([])
  })

  test('peers are yielded once, without those that are not allowed or have no port', async () => {
    const dht = new FakeDht()
    dht.peers = [...peers(3), ...peers(3), { host: '192.0.2.2', port: 0 }]
    const session = dht.session({ allows: ({ port }) => port !== 2 })
    const feed = session.addFeed()
    await dht.pass(8)
    expect(dht.lookups.length).toBeGreaterThan(1)
    const found: number[] = []
    session.end()
    feed.push([])
    for await (const { port } of session.addFeed()) {
      found.push(port)
      if (found.length === 2) break
    }
    expect(found).toEqual([1, 3])
  })

  test('only the newest peers are kept', async () => {
    const dht = new FakeDht()
    dht.peers = peers(1000)
    const session = dht.session({ maxPeers: 10 })
    session.addFeed()
    await dht.pass(1)
    const ports: number[] = []
    for await (const { port } of session.addFeed()) {
      ports.push(port)
      if (ports.length === 10) break
    }
    expect(ports).toEqual(Array.from({ length: 10 }, (_, i) => 991 + i))
  })

  test('end with the session', async () => {
    const dht = new FakeDht()
    const session = dht.session()
    const feed = session.addFeed()
    session.end()
    for await (const _ of feed) throw new Error('unreachable')
    const announcing = session.announce('started', {})
    await expect(announcing).rejects.toMatchObject({ code: 'ISTHMUS_CLIENT_CLOSED' })
    expect(dht.timers.size).toBe(0)
  })
})
