import { randomBytes } from 'node:crypto'
import { afterEach, describe, expect, test } from 'vitest'
import { discoveryConformance } from '../conformance/discovery.ts'
import type { IsthmusError } from '../errors.ts'
import { infoHashV1FromBytes, type TorrentId, torrentIdOf } from '../metainfo/info-hash.ts'
import { AddressPolicy } from '../net/address-policy.ts'
import { EgressGuard } from '../net/egress-guard.ts'
import { formatPeerAddress, type PeerAddress } from '../net/peer-address.ts'
import { DhtDiscovery, type DhtDiscoveryOptions } from './dht-discovery.ts'
import { isNodeIdOf } from './dht-node-id.ts'
import { encodeDhtState, parseDhtState } from './dht-state.ts'

const guard = new EgressGuard({ policy: new AddressPolicy({ allow: ['127.0.0.0/8'] }) })
const totals = { uploaded: 0, downloaded: 0 }
const cleanups: (() => Promise<unknown>)[] = []
let ports = 20_000

afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup()
})

function dht(options: Partial<DhtDiscoveryOptions> = {}): DhtDiscovery {
  const port = ports++
  const discovery = new DhtDiscovery({
    guard,
    host: '127.0.0.1',
    peerPort: () => port,
    bootstrap: [],
    // All of them are one source here.
    packetsPerSecond: 100_000,
    sourcePacketsPerSecond: 100_000,
    ...options,
  })
  cleanups.push(() => discovery.close())
  return discovery
}

async function router(options: Partial<DhtDiscoveryOptions> = {}) {
  const discovery = dht(options)
  const address = formatPeerAddress(await discovery.listen())
  return { discovery, bootstrap: [address] }
}

const torrent = (): TorrentId => torrentIdOf(infoHashV1FromBytes(randomBytes(20)))

async function firstOf(discovery: DhtDiscovery, id: TorrentId, count = 1): Promise<PeerAddress[]> {
  const found: PeerAddress[] = []
  const signal = AbortSignal.timeout(10_000)
  for await (const peer of discovery.find(id, { signal })) {
    found.push(peer)
    if (found.length === count) break
  }
  return found
}

describe('the DHT keeps the promise:', () => {
  const cases = discoveryConformance(async () => {
    const { discovery: first, bootstrap } = await router()
    return {
      join: async () => {
        const port = ports++
        const discovery = dht({ bootstrap, peerPort: () => port })
        return { discovery, address: { host: '127.0.0.1', port } }
      },
      close: () => first.close(),
    }
  })
  for (const promise of cases) test(promise.name, promise.run)
})

describe('the DHT', () => {
  test('20 nodes find each other through one', async () => {
    const { bootstrap } = await router()
    const nodes = Array.from({ length: 20 }, () => dht({ bootstrap }))
    const id = torrent()
    const announced = nodes.slice(0, 10)
    for (const node of announced) await node.announce(id, 'started', { totals })
    const found = await firstOf(nodes[19] ?? dht(), id, 10)
    expect(found.every(({ host }) => host === '127.0.0.1')).toBe(true)
    expect(new Set(found.map(({ port }) => port)).size).toBe(10)
  })

  test('yields a peer once, however many nodes name it', async () => {
    const { bootstrap } = await router()
    const nodes = Array.from({ length: 5 }, () => dht({ bootstrap }))
    const id = torrent()
    for (const node of nodes) await node.announce(id, 'started', { totals })
    const looking = dht({ bootstrap })
    const found: string[] = []
    const controller = new AbortController()
    const searching = (async () => {
      for await (const peer of looking.find(id, { signal: controller.signal })) {
        found.push(formatPeerAddress(peer))
      }
    })()
    await looking.announce(id, 'update', { totals })
    await looking.announce(id, 'update', { totals })
    controller.abort()
    await searching
    // Its own announce is among them the second time.
    expect(found).toHaveLength(6)
    expect(new Set(found).size).toBe(6)
  })

  test('binds nothing before it is used', async () => {
    const discovery = dht()
    expect(discovery.address).toBeUndefined()
    discovery.addNode({ host: '127.0.0.1', port: 1 })
    expect(discovery.address).toBeUndefined()
    const address = await discovery.listen()
    expect(discovery.address).toEqual(address)
    expect(address.port).toBeGreaterThan(0)
  })

  test('learns of nodes by addNode, but only of those that answer', async () => {
    const { discovery } = await router()
    const other = dht()
    other.addNode({ host: '127.0.0.1', port: 9 })
    other.addNode(await discovery.listen())
    const id = torrent()
    await other.announce(id, 'started', { totals })
    expect(other.nodes).toBe(1)
    // Whoever asks something is asked in turn.
    await until(() => discovery.nodes === 1)
  })

  test('rejects an announce that nobody takes, and tries again', async () => {
    const clock = new Clock()
    const warnings: string[] = []
    let announces = 0
    const lonely = dht({
      bootstrap: ['127.0.0.1:9'],
      peerPort: () => {
        announces++
        return 4321
      },
      now: clock.now,
      schedule: clock.schedule,
      onWarning: ({ message }) => warnings.push(message),
    })
    const id = torrent()
    const announcing = lonely.announce(id, 'started', { totals })
    await expect(announcing).rejects.toMatchObject({ code: 'ISTHMUS_DISCOVERY_FAILED' })
    expect(warnings).toEqual(['no DHT node answered'])
    const { discovery } = await router()
    lonely.addNode(await discovery.listen())
    expect(announces).toBe(0)
    clock.advance(10_000)
    await until(() => announces > 0)
    // One round follows the other, so the one before is over then.
    await lonely.announce(id, 'update', { totals })
    expect(await firstOf(discovery, id)).toEqual([{ host: '127.0.0.1', port: 4321 }])
  }, 15_000)

  test('announces again before it expires, until stopped', async () => {
    const clock = new Clock()
    const { bootstrap } = await router()
    const announced: number[] = []
    let port = 1000
    const discovery = dht({
      bootstrap,
      now: clock.now,
      schedule: clock.schedule,
      peerPort: () => {
        announced.push(clock.now())
        return port++
      },
    })
    const id = torrent()
    const start = clock.now()
    await discovery.announce(id, 'started', { totals })
    await discovery.announce(id, 'completed', { totals })
    for (let minute = 1; minute <= 31; minute++) {
      clock.advance(60_000)
      await idle()
    }
    await until(() => announced.length === 3)
    for (const at of announced.slice(1).map((at, i) => at - (announced[i] ?? start))) {
      expect(at).toBeGreaterThanOrEqual(13 * 60_000)
      expect(at).toBeLessThanOrEqual(16 * 60_000)
    }
    await discovery.announce(id, 'stopped', { totals })
    clock.advance(60 * 60_000)
    await idle()
    expect(announced).toHaveLength(3)
    await discovery.close()
    expect(clock.timers).toBe(0)
  })

  test('a read-only node finds and announces, and is asked nothing', async () => {
    const { bootstrap, discovery: first } = await router()
    const id = torrent()
    await dht({ bootstrap, peerPort: () => 4321 }).announce(id, 'started', { totals })
    await until(() => first.nodes === 1)
    const shy = dht({ bootstrap, readOnly: true })
    expect(await firstOf(shy, id)).toEqual([{ host: '127.0.0.1', port: 4321 }])
    await shy.announce(id, 'started', { totals })
    expect(first.nodes).toBe(1)
  })

  test('nobody is asked whom the guard denies', async () => {
    const { bootstrap, discovery: denied } = await router()
    const warnings: IsthmusError[] = []
    const onWarning = (error: IsthmusError) => warnings.push(error)
    const lonely = dht({ guard: new EgressGuard(), bootstrap, onWarning })
    lonely.addNode(await denied.listen())
    const announcing = lonely.announce(torrent(), 'started', { totals })
    await expect(announcing).rejects.toMatchObject({ code: 'ISTHMUS_DISCOVERY_FAILED' })
    expect(warnings[0]?.cause).toMatchObject({ code: 'ISTHMUS_EGRESS_DENIED' })
    expect([lonely.nodes, denied.nodes]).toEqual([0, 0])
  })

  test('a peer that the guard denies is not yielded', async () => {
    const { bootstrap, discovery: first } = await router()
    const id = torrent()
    await dht({ bootstrap, peerPort: () => 4321 }).announce(id, 'started', { totals })
    const wary: EgressGuard = new EgressGuard({ policy: guard.policy })
    wary.allowsPeer = ({ port }) => port !== 4321
    const looking = dht({ bootstrap, guard: wary })
    const peers = looking.find(id, {})[Symbol.asyncIterator]()
    const next = peers.next()
    await looking.announce(id, 'update', { totals })
    await dht({ bootstrap, peerPort: () => 4322 }).announce(id, 'started', { totals })
    await looking.announce(id, 'update', { totals })
    const { value } = await next
    expect(value?.port).not.toBe(4321)
    expect(first.nodes).toBeGreaterThan(0)
  })

  test('a port that is taken is told', async () => {
    const { discovery } = await router()
    const { port } = await discovery.listen()
    const warnings: string[] = []
    const second = dht({ port, onWarning: ({ code }) => warnings.push(code) })
    for (let i = 0; i < 2; i++) {
      await expect(second.listen()).rejects.toMatchObject({ code: 'ISTHMUS_LISTEN_FAILED' })
    }
    expect(warnings).toEqual(['ISTHMUS_LISTEN_FAILED'])
    await discovery.close()
    expect(await second.listen()).toMatchObject({ port })
  })

  test('ends what is under way when it is closed', async () => {
    const lonely = dht({ bootstrap: ['127.0.0.1:9'] })
    const announcing = lonely.announce(torrent(), 'started', { totals })
    const search = lonely.find(torrent(), {})[Symbol.asyncIterator]().next()
    await lonely.listen()
    const closing = lonely.close()
    await expect(announcing).rejects.toMatchObject({ code: 'ISTHMUS_CLIENT_CLOSED' })
    expect((await search).done).toBe(true)
    await closing
    await lonely.close()
    await expect(lonely.listen()).rejects.toMatchObject({ code: 'ISTHMUS_CLIENT_CLOSED' })
  })

  test.each([
    { nodeId: new Uint8Array(19) },
    { publicIp: '::1' },
    { publicIp: 'example.org' },
    { bootstrap: ['example.org'] },
    { bootstrap: ['http://example.org:1'] },
    { bootstrap: ['example.org:1/x'] },
  ])('%j makes no sense', (options) => {
    expect(() => dht(options)).toThrow()
  })
})

describe('the state of the DHT', () => {
  test('has a node come back without a bootstrap node, under the same id', async () => {
    const { bootstrap } = await router()
    const stays = dht({ bootstrap, peerPort: () => 4321 })
    const id = torrent()
    await stays.announce(id, 'started', { totals })
    const state = new Store()
    const first = dht({ bootstrap, state })
    expect(await firstOf(first, id)).toHaveLength(1)
    await first.close()
    const saved = parseDhtState(state.bytes ?? new Uint8Array())
    expect(saved.nodes.length).toBeGreaterThan(0)
    const second = dht({ state })
    expect(await firstOf(second, id)).toEqual([{ host: '127.0.0.1', port: 4321 }])
    await second.close()
    expect(parseDhtState(state.bytes ?? new Uint8Array()).id).toEqual(saved.id)
  })

  test('is kept where no node is known any more', async () => {
    const { bootstrap, discovery } = await router()
    const state = new Store()
    const first = dht({ bootstrap, state })
    await first.announce(torrent(), 'started', { totals })
    await first.close()
    const { bytes } = state
    expect(bytes).toBeDefined()
    await discovery.close()
    const second = dht({ state })
    await second.listen()
    await second.close()
    expect(state.bytes).toBe(bytes)
  })

  test.each([
    ['bad', async () => new Uint8Array(30)],
    ['a kill packet', async () => Buffer.from('d-3:e')],
    ['lost', () => Promise.reject(new Error('no such file'))],
  ])('that is %s costs itself alone', async (_, load) => {
    const { bootstrap } = await router()
    const warnings: string[] = []
    const state = new Store()
    state.load = load
    const onWarning = ({ message }: IsthmusError) => warnings.push(message)
    const discovery = dht({ bootstrap, state, onWarning })
    await discovery.announce(torrent(), 'started', { totals })
    expect(warnings).toEqual(['the saved state of the DHT could not be used'])
    await discovery.close()
    expect(parseDhtState(state.bytes ?? new Uint8Array()).nodes).toHaveLength(1)
  })

  test('gives up an id that does not fit the public IP', async () => {
    const state = new Store()
    const run = async (options: Partial<DhtDiscoveryOptions>) => {
      const { bootstrap } = await router()
      const discovery = dht({ bootstrap, state, ...options })
      await discovery.announce(torrent(), 'started', { totals })
      await discovery.close()
      const { id } = parseDhtState(state.bytes ?? new Uint8Array())
      // The nodes of one run are gone in the next.
      state.bytes = encodeDhtState({ id, nodes: [] })
      return id
    }
    const nodeId = new Uint8Array(20).fill(1)
    expect(await run({ nodeId })).toEqual(nodeId)
    const fitting = await run({ publicIp: '124.31.75.21' })
    expect(isNodeIdOf(fitting, '124.31.75.21')).toBe(true)
    expect(await run({ publicIp: '124.31.75.21' })).toEqual(fitting)
    expect(isNodeIdOf(await run({ publicIp: '21.75.31.124' }), '21.75.31.124')).toBe(true)
  })
})

class Store {
  bytes: Uint8Array | undefined
  load: () => Promise<Uint8Array | undefined> = async () => this.bytes

  async save(bytes: Uint8Array): Promise<void> {
    this.bytes = bytes
  }
}

/** Time that passes when a test says so. */
class Clock {
  #ms = Date.now()
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
      if (timer.at <= this.#ms && this.#timers.delete(timer)) timer.run()
    }
  }
}

function idle(): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, 5))
}

async function until(holds: () => boolean): Promise<void> {
  while (!holds()) await idle()
}
