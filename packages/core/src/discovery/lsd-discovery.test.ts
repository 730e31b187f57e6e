import { randomBytes } from 'node:crypto'
import { createSocket } from 'node:dgram'
import { networkInterfaces } from 'node:os'
import { afterEach, describe, expect, test } from 'vitest'
import { discoveryConformance } from '../conformance/discovery.ts'
import type { IsthmusError } from '../errors.ts'
import { infoHashV1FromBytes, type TorrentId, torrentIdOf } from '../metainfo/info-hash.ts'
import type { PeerAddress } from '../net/peer-address.ts'
import { LsdDiscovery, type LsdDiscoveryOptions } from './lsd-discovery.ts'
import { encodeLsdMessage, parseLsdMessage } from './lsd-message.ts'

const GROUP = '239.192.152.143'
const loopback = Object.entries(networkInterfaces())
  .filter(([, infos]) => infos?.some(({ address }) => address === '127.0.0.1'))
  .map(([name]) => name)
const totals = { uploaded: 0, downloaded: 0 }
const cleanups: (() => Promise<unknown>)[] = []

afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup()
})

/** A socket in the group on loopback, and the free port that it has. */
async function listener(port = 0) {
  const socket = createSocket({ type: 'udp4', reuseAddr: true })
  await new Promise<void>((resolve) => socket.bind(port, GROUP, resolve))
  cleanups.push(() => new Promise<void>((resolve) => socket.close(() => resolve())))
  socket.addMembership(GROUP, '127.0.0.1')
  socket.setMulticastInterface('127.0.0.1')
  const datagrams: Buffer[] = []
  let arrived = () => {}
  socket.on('message', (datagram) => {
    datagrams.push(datagram)
    arrived()
  })
  const heard = async (count: number) => {
    while (datagrams.length < count) {
      await new Promise<void>((resolve) => {
        arrived = resolve
      })
    }
    return datagrams
  }
  const own = socket.address().port
  const send = (bytes: Uint8Array) =>
    new Promise<void>((resolve, reject) => {
      socket.send(bytes, own, GROUP, (error) => (error ? reject(error) : resolve()))
    })
  return { port: own, heard, datagrams, send }
}

async function multicastWorks(): Promise<boolean> {
  const timeout = AbortSignal.timeout(2000)
  try {
    const { send, heard } = await listener()
    await send(Buffer.from('x'))
    await Promise.race([
      heard(1),
      new Promise((_, reject) => timeout.addEventListener('abort', () => reject(timeout.reason))),
    ])
    return true
  } catch {
    return false
  } finally {
    for (const cleanup of cleanups.splice(0)) await cleanup().catch(() => {})
  }
}

const works = await multicastWorks()
const name = (text: string) => (works ? text : `${text} [skipped: no multicast on loopback]`)
const describeMulticast =
  works || process.env.ISTHMUS_TEST_REQUIRE_ALL === '1' ? describe : describe.skip

/** Time that passes when a test says so. */
class Clock {
  #ms = 1_000_000
  readonly #timers = new Set<{ readonly at: number; readonly run: () => void }>()

  readonly now = () => this.#ms
  readonly schedule = (run: () => void, delayMs: number) => {
    const timer = { at: this.#ms + delayMs, run }
    this.#timers.add(timer)
    return () => void this.#timers.delete(timer)
  }

  get timers(): number {
    return this.#timers.size
  }

  advance(ms: number): void {
    this.#ms += ms
    for (const timer of [...this.#timers]) {
      if (timer.at > this.#ms || !this.#timers.delete(timer)) continue
      timer.run()
    }
  }
}

function lsd(options: Partial<LsdDiscoveryOptions>): LsdDiscovery {
  const discovery = new LsdDiscovery({ peerPort: () => 6881, interfaces: loopback, ...options })
  cleanups.push(() => discovery.close())
  return discovery
}

const torrent = (): TorrentId => torrentIdOf(infoHashV1FromBytes(randomBytes(20)))
const hashOf = (id: TorrentId) => id.v1 ?? ''
const hashesIn = (datagram: Uint8Array | undefined) =>
  parseLsdMessage(datagram ?? new Uint8Array())?.infoHashes ?? []

async function firstOf(discovery: LsdDiscovery, id: TorrentId): Promise<PeerAddress | undefined> {
  for await (const peer of discovery.find(id, { signal: AbortSignal.timeout(4000) })) return peer
  return undefined
}

/** Whether there is nothing to find right now. */
async function findsNothing(discovery: LsdDiscovery, id: TorrentId): Promise<boolean> {
  const controller = new AbortController()
  const next = discovery.find(id, { signal: controller.signal })[Symbol.asyncIterator]().next()
  await new Promise((resolve) => setImmediate(resolve))
  controller.abort()
  return (await next).done === true
}

describeMulticast(name('local service discovery keeps the promise:'), () => {
  const cases = discoveryConformance(async () => {
    const { port } = await listener()
    let peers = 7000
    return {
      join: async () => {
        const peerPort = peers++
        const discovery = lsd({ port, peerPort: () => peerPort })
        await discovery.listen()
        return { discovery, address: { host: '127.0.0.1', port: peerPort } }
      },
    }
  })
  for (const promise of cases) test(promise.name, promise.run)
})

describeMulticast(name('local service discovery'), () => {
  test('announces at once, then every 5 minutes until stopped', async () => {
    const clock = new Clock()
    const { port, heard, datagrams } = await listener()
    const discovery = lsd({ port, now: clock.now, schedule: clock.schedule })
    const id = torrent()
    await discovery.announce(id, 'started', { totals })
    expect(hashesIn((await heard(1))[0])).toEqual([hashOf(id)])
    expect(parseLsdMessage(datagrams[0] ?? new Uint8Array())?.port).toBe(6881)
    clock.advance(5 * 60_000)
    expect(hashesIn((await heard(2))[1])).toEqual([hashOf(id)])
    await discovery.announce(id, 'stopped', { totals })
    clock.advance(60 * 60_000)
    const other = torrent()
    await discovery.announce(other, 'started', { totals })
    expect(hashesIn((await heard(3))[2])).toEqual([hashOf(other)])
    await discovery.close()
    expect(clock.timers).toBe(0)
  })

  test('sends one message a minute, with up to 24 torrents', async () => {
    const clock = new Clock()
    const { port, heard, datagrams } = await listener()
    const discovery = lsd({ port, now: clock.now, schedule: clock.schedule })
    const ids = Array.from({ length: 30 }, torrent)
    for (const id of ids) await discovery.announce(id, 'started', { totals })
    await heard(1)
    clock.advance(59_000)
    expect(datagrams).toHaveLength(1)
    clock.advance(1000)
    await heard(2)
    clock.advance(60_000)
    const sent = (await heard(3)).map(hashesIn)
    expect(sent.map((hashes) => hashes.length)).toEqual([1, 24, 5])
    expect(sent.flat()).toEqual(ids.map(hashOf))
  })

  test('believes nothing but the address of the sender', async () => {
    const { port, send } = await listener()
    const discovery = lsd({ port })
    const id = torrent()
    const found = firstOf(discovery, id)
    await discovery.listen()
    await send(Buffer.from('BT-SEARCH * HTTP/1.1\r\nrubbish'))
    await send(encodeLsdMessage('10.1.2.3:6771', { port: 4321, infoHashes: [hashOf(id)] }))
    expect(await found).toEqual({ host: '127.0.0.1', port: 4321 })
  })

  test('remembers for 10 minutes what was announced before somebody looked', async () => {
    const clock = new Clock()
    const { port, send } = await listener()
    const discovery = lsd({ port, now: clock.now, schedule: clock.schedule })
    const [early, seen] = [torrent(), torrent()]
    const waiting = firstOf(discovery, seen)
    await discovery.listen()
    const announce = { port: 4321, infoHashes: [hashOf(early), hashOf(seen)] }
    await send(encodeLsdMessage('x', announce))
    await waiting
    expect(await firstOf(discovery, early)).toEqual({ host: '127.0.0.1', port: 4321 })
    clock.advance(10 * 60_000 + 1)
    expect(await findsNothing(discovery, early)).toBe(true)
  })

  test('a flood from one source is not looked at without end', async () => {
    const clock = new Clock()
    const { port, send } = await listener()
    const discovery = lsd({ port, now: clock.now, schedule: clock.schedule })
    const [marker, last] = [torrent(), torrent()]
    const got = firstOf(discovery, marker)
    await discovery.listen()
    for (let i = 0; i < 99; i++) await send(Buffer.from('x'))
    await send(encodeLsdMessage('x', { port: 1, infoHashes: [hashOf(marker)] }))
    expect(await got).toEqual({ host: '127.0.0.1', port: 1 })
    const observer = await listener(port)
    await send(encodeLsdMessage('x', { port: 2, infoHashes: [hashOf(last)] }))
    await observer.heard(1)
    await new Promise((resolve) => setImmediate(resolve))
    expect(await findsNothing(discovery, last)).toBe(true)
  })

  test('announces nothing where nobody can reach us', async () => {
    const clock = new Clock()
    const { port, heard } = await listener()
    let peerPort: number | undefined
    const discovery = lsd({
      port,
      peerPort: () => peerPort,
      now: clock.now,
      schedule: clock.schedule,
    })
    const [first, second] = [torrent(), torrent()]
    await discovery.announce(first, 'started', { totals })
    peerPort = 6881
    await discovery.announce(second, 'started', { totals })
    expect(hashesIn((await heard(1))[0])).toEqual([hashOf(second)])
    clock.advance(5 * 60_000)
    expect(hashesIn((await heard(2))[1])).toEqual([hashOf(first), hashOf(second)])
  })
})

test('an interface that is not there is warned of once', async () => {
  const warnings: IsthmusError[] = []
  const discovery = lsd({ interfaces: ['no such'], onWarning: (error) => warnings.push(error) })
  await expect(discovery.listen()).rejects.toMatchObject({ code: 'ISTHMUS_LISTEN_FAILED' })
  const announcing = discovery.announce(torrent(), 'started', { totals })
  await expect(announcing).rejects.toMatchObject({ code: 'ISTHMUS_DISCOVERY_FAILED' })
  expect(warnings.map(({ code }) => code)).toEqual(['ISTHMUS_LISTEN_FAILED'])
})
