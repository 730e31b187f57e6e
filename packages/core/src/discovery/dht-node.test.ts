import { randomBytes } from 'node:crypto'
import { createSocket } from 'node:dgram'
import { readFileSync } from 'node:fs'
import DHT from 'bittorrent-dht'
import fc from 'fast-check'
import { afterEach, describe, expect, test, vi } from 'vitest'
import { mutationsOf, propertyOptions } from '../../../../test/support/property.ts'
import { AddressPolicy } from '../net/address-policy.ts'
import { EgressGuard } from '../net/egress-guard.ts'
import type { PeerAddress } from '../net/peer-address.ts'
import { DhtNode, type DhtNodeOptions } from './dht-node.ts'
import { DhtSocket } from './dht-socket.ts'
import { scheduleUnref } from './schedule.ts'

const policy = new AddressPolicy({ allow: ['127.0.0.0/8'] })
const { signal } = new AbortController()
const bytes = (text: string) => Buffer.from(text, 'latin1')
const id = 'abcdefghij0123456789'
const target = 'mnopqrstuvwxyz123456'
const cleanups: (() => Promise<unknown>)[] = []

afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup()
})

function create(options: Partial<DhtNodeOptions> = {}): DhtNode {
  const node = new DhtNode({
    host: '127.0.0.1',
    port: 0,
    bootstrap: [],
    guard: new EgressGuard({ policy }),
    nodeId: undefined,
    publicIp: undefined,
    state: undefined,
    readOnly: false,
    enforceNodeIds: false,
    packetsPerSecond: 1e6,
    sourcePacketsPerSecond: 1e6,
    onWarning: () => {},
    schedule: scheduleUnref,
    now: Date.now,
    ...options,
  })
  cleanups.push(() => node.close())
  return node
}

/** A stranger with a socket, who answers with what `reply` makes of a query. */
async function stranger(reply: (query: Buffer) => Uint8Array | undefined = () => undefined) {
  const socket = createSocket('udp4')
  await new Promise<void>((resolve) => socket.bind(0, '127.0.0.1', resolve))
  cleanups.push(() => new Promise<void>((resolve) => socket.close(() => resolve())))
  const received: Buffer[] = []
  let arrived = () => {}
  socket.on('message', (datagram, { port }) => {
    received.push(datagram)
    arrived()
    const answer = reply(datagram)
    if (answer !== undefined) socket.send(answer, port, '127.0.0.1')
  })
  const send = (datagram: Uint8Array, { host, port }: PeerAddress) =>
    new Promise<void>((resolve, reject) => {
      socket.send(datagram, port, host, (error) => (error ? reject(error) : resolve()))
    })
  /** Asks until something comes: one datagram among a flood may get lost. */
  const pinged = async (to: PeerAddress) => {
    received.length = 0
    while (!received.some((datagram) => datagram.includes('1:y1:r'))) {
      await send(bytes(`d1:ad2:id20:${id}e1:q4:ping1:t2:zz1:y1:qe`), to)
      await new Promise<void>((resolve) => {
        arrived = resolve
        setTimeout(resolve, 50)
      })
    }
  }
  return { address: { host: '127.0.0.1', port: socket.address().port }, send, pinged, received }
}

const samples = [
  `d1:ad2:id20:${id}e1:q4:ping1:t2:aa1:y1:qe`,
  `d1:ad2:id20:${id}6:target20:${target}e1:q9:find_node1:t2:aa1:y1:qe`,
  `d1:ad2:id20:${id}9:info_hash20:${target}e1:q9:get_peers1:t2:aa1:y1:qe`,
  `d1:ad2:id20:${id}12:implied_porti1e9:info_hash20:${target}4:porti6881e5:token20:${target}e1:q13:announce_peer1:t2:aa1:y1:qe`,
  `d1:ad2:id20:${id}6:target20:${target}5:token1:x1:v5:valuee1:q3:put1:t2:aa1:y1:qe`,
  `d1:rd2:id20:${id}5:nodes26:${target}\x7f\0\0\x01\x1a\xe1e1:t2:\0\x011:y1:re`,
  `d1:rd2:id20:${id}5:token8:aoeusnth6:valuesl6:axje.u6:idhtnmee1:t2:\0\x021:y1:re`,
  'd1:eli201e23:A Generic Error Ocurrede1:t2:\0\x031:y1:ee',
].map(bytes)
const killers = [
  'd-3:e',
  'l-3:e',
  'i',
  'd',
  '-1:',
  '99999999999:',
  'd1:y1:q1:t',
  'd1:a'.repeat(300),
]

describe('a node that strangers write to', () => {
  test('outlives malformed datagrams by the ten thousands', async () => {
    const node = create()
    const { port } = await node.listen()
    const here = { host: '127.0.0.1', port }
    const { send, pinged } = await stranger()
    const options = propertyOptions('datagrams to a DHT node')
    const input = fc.oneof(
      { arbitrary: mutationsOf(samples), weight: 8 },
      { arbitrary: fc.constantFrom(...killers.map(bytes)), weight: 1 },
      { arbitrary: fc.uint8Array({ maxLength: 1600 }), weight: 1 },
    )
    const datagrams = fc.sample(input, options)
    const before = process.memoryUsage().heapUsed
    for (let at = 0; at < datagrams.length; at += 100) {
      await Promise.all(datagrams.slice(at, at + 100).map((datagram) => send(datagram, here)))
    }
    await pinged(here)
    expect(process.memoryUsage().heapUsed - before).toBeLessThan(100 * 1024 * 1024)
    // Nobody of them ever answered.
    expect(node.nodes).toBe(0)
  }, 60_000)

  test.each(killers)('answers the next one after %j', async (killer) => {
    const node = create()
    const { port } = await node.listen()
    const { send, pinged } = await stranger()
    await send(bytes(killer), { host: '127.0.0.1', port })
    await pinged({ host: '127.0.0.1', port })
  })

  test('outlives nodes that answer with anything', async () => {
    const { seed } = propertyOptions('answers to a DHT node')
    const replies = [
      `d2:ip6:\x7f\0\0\x01\x1a\xe11:rd2:id20:IDIDIDIDIDIDIDIDIDID5:nodes52:${target}\x7f\0\0\x01\x1a\xe1${id}\x7f\0\0\x01\x1a\xe2e1:t4:TTTT1:y1:re`,
      'd1:rd2:id20:IDIDIDIDIDIDIDIDIDID5:token8:aoeusnth6:valuesl6:axje.u6:idhtnmee1:t4:TTTT1:y1:re',
      'd1:eli201e1:xe1:t4:TTTT1:y1:ee',
    ].map(bytes)
    const answers = fc.sample(mutationsOf(replies), { numRuns: 3000, seed })
    let lookups = 0
    const reply = (query: Buffer) => {
      const at = query.indexOf('1:t4:')
      const template = query.includes('4:ping') ? replies[1] : answers.pop()
      const text = template === undefined ? '' : Buffer.from(template).toString('latin1')
      const transaction = query.toString('latin1', at + 5, at + 9)
      lookups++
      return bytes(text.replace('TTTT', transaction).replace('IDIDIDIDIDIDIDIDIDID', id))
    }
    const node = create()
    const evil = await Promise.all(Array.from({ length: 8 }, () => stranger(reply)))
    for (let round = 0; round < 20; round++) {
      for (const { address } of evil) node.addNode(address)
      const infoHash = randomBytes(20)
      const ended = AbortSignal.timeout(50)
      await node.lookup(infoHash, () => {}, ended).catch(() => 0)
      await node.announce(infoHash, 6881, ended).catch(() => 0)
    }
    expect(lookups).toBeGreaterThan(20)
    const { pinged } = await stranger()
    await pinged(await node.listen())
  }, 30_000)

  test('has where most others see it', async () => {
    const seenAs = ['\x01\x02\x03\x04', '\x01\x02\x03\x04', '\x05\x06\x07\x08', '\x01\x02\x03\x04']
    const node = create({ host: '0.0.0.0' })
    for (const [i, ip] of seenAs.entries()) {
      const other = createSocket('udp4')
      await new Promise<void>((resolve) => other.bind(0, `127.0.0.${i + 2}`, resolve))
      cleanups.push(() => new Promise<void>((resolve) => other.close(() => resolve())))
      other.on('message', (query, { port, address }) => {
        const at = query.indexOf('1:t4:') + 5
        const own = bytes(id)
        own[0] = i
        const parts = [`d2:ip6:${ip}\0\x011:rd2:id20:`, own, 'e1:t4:', query.subarray(at, at + 4)]
        const answer = Buffer.concat(
          [...parts, '1:y1:re'].map((part) => (typeof part === 'string' ? bytes(part) : part)),
        )
        other.send(answer, port, address)
      })
      const before = node.nodes
      node.addNode({ host: `127.0.0.${i + 2}`, port: other.address().port })
      await node.listen()
      await vi.waitFor(() => expect(node.nodes).toBe(before + 1))
      expect(node.externalAddress).toBe(i < 3 ? undefined : '1.2.3.4')
    }
  })
})

describe('a node and its process', () => {
  test('does not keep it alive, and leaves nothing behind', async () => {
    // The library may be slow to load the first time.
    await create().listen()
    const timers: { hasRef(): boolean; readonly _destroyed?: boolean }[] = []
    const watch = (name: 'setInterval' | 'setTimeout') => {
      const original = globalThis[name]
      const spy = vi.spyOn(globalThis, name).mockImplementation(((...args: never[]) => {
        const timer = (original as (...args: never[]) => NodeJS.Timeout)(...args)
        timers.push(timer)
        return timer
      }) as never)
      cleanups.push(async () => spy.mockRestore())
    }
    watch('setInterval')
    watch('setTimeout')
    const other = create()
    const node = create()
    node.addNode(await other.listen())
    await node.lookup(randomBytes(20), () => {}, signal)
    expect(timers.length).toBeGreaterThan(3)
    expect(timers.filter((timer) => timer.hasRef() && timer._destroyed !== true)).toEqual([])
    // Sockets of earlier tests may take a moment to go.
    await vi.waitFor(() => expect(process.getActiveResourcesInfo()).not.toContain('UDPWrap'))
    await Promise.all([node.close(), other.close()])
    expect(timers.filter((timer) => timer._destroyed !== true)).toEqual([])
  })

  test('pings questionable nodes, and forgets those that do not answer', async () => {
    let ms = Date.now()
    const scheduled: (() => void)[] = []
    const node = create({
      now: () => ms,
      schedule: (run) => {
        scheduled.push(run)
        return () => {}
      },
    })
    const [stays, goes] = [create(), create()]
    for (const other of [stays, goes]) node.addNode(await other.listen())
    await node.listen()
    await vi.waitFor(() => expect(node.nodes).toBe(2))
    await goes.close()
    ms += 20 * 60_000
    scheduled.shift()?.()
    await vi.waitFor(() => expect(node.nodes).toBe(1))
    expect(scheduled).toHaveLength(1)
  })
})

describe('bittorrent-dht, as the node leans on it', () => {
  const versionOf = (name: string) => {
    const path = `../../../../node_modules/${name}/package.json`
    return JSON.parse(readFileSync(new URL(path, import.meta.url), 'utf8')).version
  }

  test('is the version that was looked at', () => {
    expect(versionOf('bittorrent-dht')).toBe('11.0.12')
    expect(versionOf('k-rpc')).toBe('5.1.0')
    expect(versionOf('k-rpc-socket')).toBe('1.11.1')
  })

  test('has timers to unref, takes in who answers, and nobody who only asks', async () => {
    const socket = new DhtSocket({
      policy,
      readOnly: false,
      enforceNodeIds: false,
      packetsPerSecond: 1e6,
      sourcePacketsPerSecond: 1e6,
      now: Date.now,
      onQuery: () => {},
      onExternalAddress: () => {},
    })
    await socket.bind(0, '127.0.0.1')
    const dht = new DHT({
      nodeId: randomBytes(20),
      bootstrap: false,
      socket,
      concurrency: 16,
      maxAge: 60_000,
      maxPeers: 100,
      timeout: 2000,
    })
    cleanups.push(() => new Promise<void>((resolve) => dht.destroy(resolve)))
    expect([dht._interval.hasRef(), dht._rpc.socket._timer.hasRef()]).toEqual([true, true])
    const replies = (query: Buffer) => {
      const at = query.indexOf('1:t4:') + 5
      const [head, tail] = [bytes(`d1:rd2:id20:${id}e1:t4:`), bytes('1:y1:re')]
      return query.includes('1:y1:q')
        ? Buffer.concat([head, query.subarray(at, at + 4), tail])
        : undefined
    }
    const { address, send, pinged } = await stranger(replies)
    const here = { host: '127.0.0.1', port: socket.address().port }
    await pinged(here)
    expect(dht.nodes.count()).toBe(0)
    await new Promise((resolve) => dht._rpc.query({ ...address }, { q: 'ping' }, resolve))
    expect(dht.nodes.toArray().map(({ host, port }) => ({ host, port }))).toEqual([address])
    expect(dht.nodes.get(bytes(id))?.seen).toBeTypeOf('number')
    const asked = await new Promise<number>((resolve) => {
      const message = { q: 'find_node', a: { id: dht.nodeId, target: dht.nodeId } }
      dht._rpc.populate(dht.nodeId, message, (_, count) => resolve(count))
    })
    expect(asked).toBe(1)
    const answers = await new Promise<number>((resolve) => {
      dht.lookup(randomBytes(20), (_, count) => resolve(count))
    })
    expect(answers).toBe(1)
    await send(bytes('d-3:e'), here)
    dht.removeNode(bytes(id))
    expect(dht.nodes.count()).toBe(0)
  })
})
