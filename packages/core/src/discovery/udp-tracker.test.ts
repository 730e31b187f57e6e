import { createSocket } from 'node:dgram'
import { once } from 'node:events'
import type { AddressInfo } from 'node:net'
import { afterEach, describe, expect, test } from 'vitest'
import {
  startTracker,
  type TestTracker,
  type TrackerOptions,
} from '../../../../test/support/tracker.ts'
import { AddressPolicy } from '../net/address-policy.ts'
import { EgressGuard } from '../net/egress-guard.ts'
import type { AnnounceRequest } from './announce.ts'
import { UdpConnections } from './udp-connections.ts'
import { announceUdp } from './udp-tracker.ts'

const opened: { close(): Promise<void> }[] = []
afterEach(async () => {
  await Promise.all(opened.splice(0).map((thing) => thing.close()))
})

async function open(options?: TrackerOptions): Promise<TestTracker> {
  const tracker = await startTracker(options)
  opened.push(tracker)
  return tracker
}

const guard = new EgressGuard({ policy: new AddressPolicy({ allow: ['127.0.0.1', '::1'] }) })
const infoHash = Uint8Array.from({ length: 20 }, (_, i) => i)
const request: AnnounceRequest = {
  infoHash,
  peerId: Buffer.from('-IS0001-abcdefghijkl'),
  port: 6881,
  event: 'completed',
  totals: { uploaded: 2 ** 40, downloaded: 2 ** 41, left: 0 },
  key: 0xffff_fffe,
}
const failed = (message: unknown) =>
  expect.objectContaining({ code: 'ISTHMUS_TRACKER_FAILED', message })

describe('announcing to a UDP tracker', () => {
  test('tells everything about us, path and query of the URL among it', async () => {
    const tracker = await open()
    const path = `/announce?${'long='.repeat(100)}&x=%20`
    const url = new URL(path, tracker.udpUrl)
    const reply = await announceUdp(url, request, { guard })
    expect(reply).toEqual({ intervalMs: 1_800_000, peers: [], seeders: 1, leechers: 0 })
    expect(tracker.announces).toEqual([
      {
        transport: 'udp',
        infoHash: Buffer.from(infoHash).toString('hex'),
        peerId: '-IS0001-abcdefghijkl',
        host: '127.0.0.1',
        port: 6881,
        event: 'completed',
        uploaded: 2 ** 40,
        downloaded: 2 ** 41,
        left: 0,
        numWant: 50,
        key: 'fffffffe',
        trackerId: undefined,
        userAgent: undefined,
        target: path,
      },
    ])
  })

  test.each(['update', 'started', 'stopped'] as const)('tells of %s', async (event) => {
    const tracker = await open()
    const numWant = event === 'stopped' ? 0 : 5
    await announceUdp(new URL(tracker.udpUrl), { ...request, event, numWant }, { guard })
    expect(tracker.announces[0]).toMatchObject({ event, numWant, target: '/announce' })
  })

  test('does not pass for a seeder while the length is unknown', async () => {
    const tracker = await open()
    const unknown = { ...request, totals: { uploaded: 0, downloaded: 0 } }
    await announceUdp(new URL(tracker.udpUrl), unknown, { guard })
    expect(tracker.announces[0]?.left).toBeGreaterThan(0)
  })

  test('finds who announced before', async () => {
    const tracker = await open({ interval: 10 })
    const url = new URL(tracker.udpUrl)
    await announceUdp(url, { ...request, port: 7001 }, { guard })
    const reply = await announceUdp(url, { ...request, port: 7002 }, { guard })
    expect(reply).toMatchObject({ peers: [{ host: '127.0.0.1', port: 7001 }], intervalMs: 60_000 })
  })

  test('finds peers over IPv6', async (context) => {
    const tracker = await open({ host: '::1' }).catch(() => context.skip('no IPv6 here'))
    const url = new URL(tracker.udpUrl)
    await announceUdp(url, { ...request, port: 7001 }, { guard })
    const reply = await announceUdp(url, { ...request, port: 7002 }, { guard })
    expect(reply.peers).toEqual([{ host: '::1', port: 7001 }])
  })

  test('connects once a minute', async () => {
    let now = 1000
    const tracker = await open()
    const options = { guard, connections: new UdpConnections(() => now) }
    const url = new URL(tracker.udpUrl)
    for (const time of [0, 30_000, 59_999]) {
      now = 1000 + time
      await announceUdp(url, request, options)
    }
    expect([tracker.connects, tracker.announces.length]).toEqual([1, 3])
    now = 1000 + 60_001
    await announceUdp(url, request, options)
    expect([tracker.connects, tracker.announces.length]).toEqual([2, 4])
  })

  test('connects again when the tracker no longer knows the connection', async () => {
    const tracker = await open()
    const connections = new UdpConnections()
    const { port } = new URL(tracker.udpUrl)
    connections.put(`127.0.0.1 ${port}`, 1n)
    await announceUdp(new URL(tracker.udpUrl), request, { guard, connections })
    expect([tracker.connects, tracker.announces.length]).toEqual([1, 1])
  })

  test('connects again when the tracker is silent about a kept connection', async () => {
    const tracker = await open()
    const connections = new UdpConnections()
    const url = new URL(tracker.udpUrl)
    await announceUdp(url, request, { guard, connections })
    tracker.misbehave({ kind: 'lose', count: 1 })
    await announceUdp(url, request, { guard, connections, retransmitMs: 20 })
    expect([tracker.connects, tracker.announces.length]).toEqual([2, 2])
  })

  test('repeats what was lost, waiting twice as long each time', async () => {
    const tracker = await open()
    tracker.misbehave({ kind: 'lose', count: 3 })
    const before = performance.now()
    await announceUdp(new URL(tracker.udpUrl), request, { guard, retransmitMs: 20 })
    // 20 + 40 + 80 ms, of which a timer may be 1 ms early each.
    expect(performance.now() - before).toBeGreaterThan(136)
    expect(tracker.announces.length).toBe(1)
  })
})

describe('a UDP tracker that misbehaves', () => {
  test('and refuses is a failed tracker', async () => {
    const tracker = await open()
    tracker.misbehave({ kind: 'refuse', reason: 'go\u0007 away\n' })
    const url = new URL(tracker.udpUrl)
    const announcing = announceUdp(url, request, { guard })
    await expect(announcing).rejects.toEqual(failed(`the tracker ${url.host} refused: go away`))
  })

  test('and is silent is given up at the deadline', async () => {
    const tracker = await open()
    tracker.misbehave({ kind: 'silence' })
    const options = { guard, timeoutMs: 60, retransmitMs: 10 }
    const announcing = announceUdp(new URL(tracker.udpUrl), request, options)
    await expect(announcing).rejects.toEqual(failed(expect.stringMatching(/not answer in time$/)))
    expect(tracker.connects).toBeGreaterThan(1)
  })

  test.each([
    ['nothing behind the transaction', 1, ''],
    ['a reply that breaks off', 1, '000000ff00'],
    ['another action', 2, '00'.repeat(12)],
    ['a connection instead', 0, '00'.repeat(8)],
    ['no action that exists', 0xffff_ffff, '00'.repeat(12)],
  ])('and answers %s is not listened to', async (_, action, hex) => {
    const tracker = await open()
    tracker.misbehave({ kind: 'datagram', action, rest: Buffer.from(hex, 'hex') })
    const options = { guard, timeoutMs: 60, retransmitMs: 30 }
    const announcing = announceUdp(new URL(tracker.udpUrl), request, options)
    await expect(announcing).rejects.toEqual(failed(expect.stringMatching(/not answer in time$/)))
  })

  test('and cuts off the last peer is taken at its whole ones', async () => {
    const tracker = await open()
    const rest = Buffer.from(`${'00'.repeat(12)}c00002011ae1c00002`, 'hex')
    tracker.misbehave({ kind: 'datagram', action: 1, rest })
    const reply = await announceUdp(new URL(tracker.udpUrl), request, { guard })
    expect(reply.peers).toEqual([{ host: '192.0.2.1', port: 6881 }])
  })

  test('and sends other datagrams first is understood all the same', async () => {
    const tracker = await open()
    tracker.misbehave({ kind: 'noise' })
    const reply = await announceUdp(new URL(tracker.udpUrl), request, { guard })
    expect(reply.seeders).toBe(1)
  })

  test('is not mistaken for somebody else who knows the transaction', async () => {
    const tracker = createSocket('udp4')
    const stranger = createSocket('udp4')
    for (const socket of [tracker, stranger]) {
      await new Promise<void>((resolve) => socket.bind(0, '127.0.0.1', resolve))
      opened.push({ close: () => new Promise((resolve) => socket.close(resolve)) })
    }
    tracker.on('message', (datagram, from) => {
      const refusal = Buffer.concat([Buffer.of(0, 0, 0, 3), datagram.subarray(12, 16)])
      const forged = Buffer.concat([refusal, Buffer.from('forged')])
      stranger.send(forged, from.port, from.address, () => {
        tracker.send(Buffer.concat([refusal, Buffer.from('true')]), from.port, from.address)
      })
    })
    const url = new URL(`udp://127.0.0.1:${(tracker.address() as AddressInfo).port}`)
    const announcing = announceUdp(url, request, { guard })
    await expect(announcing).rejects.toEqual(failed(`the tracker ${url.host} refused: true`))
  })

  test('and is not there fails', async () => {
    const socket = createSocket('udp4')
    socket.bind(0, '127.0.0.1')
    await once(socket, 'listening')
    const { port } = socket.address()
    await new Promise<void>((resolve) => socket.close(resolve))
    const options = { guard, timeoutMs: 500, retransmitMs: 50 }
    const announcing = announceUdp(new URL(`udp://127.0.0.1:${port}`), request, options)
    await expect(announcing).rejects.toEqual(failed(expect.any(String)))
  })

  test('is given up with the reason of the signal', async () => {
    const tracker = await open()
    tracker.misbehave({ kind: 'silence' })
    const controller = new AbortController()
    const options = { guard, signal: controller.signal }
    const announcing = announceUdp(new URL(tracker.udpUrl), request, options)
    controller.abort('enough')
    await expect(announcing).rejects.toBe('enough')
    await expect(announceUdp(new URL(tracker.udpUrl), request, options)).rejects.toBe('enough')
  })

  test('at an address that is not allowed hears nothing', async () => {
    const tracker = await open()
    const strict = new EgressGuard()
    const announcing = announceUdp(new URL(tracker.udpUrl), request, { guard: strict })
    const denied = expect.objectContaining({ code: 'ISTHMUS_EGRESS_DENIED' })
    await expect(announcing).rejects.toEqual(denied)
    expect([tracker.connects, tracker.announces.length]).toEqual([0, 0])
  })
})
