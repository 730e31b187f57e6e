import { describe, expect, test } from 'vitest'
import { addressOf, openClient, seed } from '../../../../test/support/loopback-clients.ts'
import { RawPeer } from '../../../../test/support/raw-peer.ts'
import { makeTorrent, randomBytes } from '../../../../test/support/torrents.ts'
import { AddressPolicy } from '../net/address-policy.ts'
import { EgressGuard } from '../net/egress-guard.ts'
import { formatPeerAddress, parsePeerAddress } from '../net/peer-address.ts'
import { decodePeerExchange, encodePeerExchange, type PeerExchangeMessage } from '../wire/ut-pex.ts'
import type { Peer } from './peer.ts'
import { PeerExchange } from './peer-exchange.ts'

const MINUTE = 60_000

/** As much of a peer as the exchange sees; keeps what it is sent. */
class ExchangingPeer {
  readonly sent: PeerExchangeMessage[] = []
  readonly address
  readonly listenAddress
  readonly incoming: boolean
  speaks = true
  isSeed = false
  uploadOnly = false

  constructor(address: string, { listens = true, incoming = false } = {}) {
    this.address = parsePeerAddress(address)
    this.listenAddress = listens ? this.address : undefined
    this.incoming = incoming
  }

  get wire() {
    return {
      control: {
        speaks: (name: string) => this.speaks && name === 'ut_pex',
        sendExtension: (_: string, payload: Uint8Array) =>
          void this.sent.push(decodePeerExchange(payload)),
      },
    }
  }

  /** The addresses that the last message added, in order. */
  get lastAdded(): string[] {
    const added = this.sent.at(-1)?.added ?? []
    return added.map(({ address }) => formatPeerAddress(address)).sort()
  }

  get asPeer(): Peer {
    return this as unknown as Peer
  }
}

function open({ allow = [] as string[], takenAtMost = 1000 } = {}) {
  const taken: string[] = []
  const guard = new EgressGuard({ policy: new AddressPolicy({ allow }) })
  const exchange = new PeerExchange({
    guard,
    takenAtMost,
    random: () => 0,
    onAddresses: (addresses) => taken.push(...addresses.map(formatPeerAddress)),
  })
  const tell = (peers: readonly ExchangingPeer[], now: number) =>
    exchange.tell(
      peers.map((peer) => peer.asPeer),
      now,
    )
  const receive = (peer: ExchangingPeer, addresses: readonly string[], now: number) =>
    exchange.onMessage(peer.asPeer, added(addresses), now)
  return { exchange, taken, tell, receive }
}

function added(addresses: readonly string[]): Uint8Array {
  const peers = addresses.map((text) => ({ address: parsePeerAddress(text) }))
  return encodePeerExchange({ added: peers, dropped: [] })
}

const many = (count: number, from = 0) =>
  Array.from(
    { length: count },
    (_, i) => `8.8.${Math.floor((from + i) / 200)}.${1 + ((from + i) % 200)}:6881`,
  )

describe('what is told', () => {
  test('is whom we are connected to and that listens, but not the peer itself', () => {
    const { tell } = open()
    const [a, b] = [new ExchangingPeer('8.8.1.1:1'), new ExchangingPeer('8.8.2.2:2')]
    const silent = new ExchangingPeer('8.8.3.3:3', { listens: false })
    const seed = new ExchangingPeer('[2600::1]:4', { incoming: true })
    seed.isSeed = true
    tell([a, b, silent, seed], 0)
    expect(a.lastAdded).toEqual(['8.8.2.2:2', '[2600::1]:4'])
    expect(b.lastAdded).toEqual(['8.8.1.1:1', '[2600::1]:4'])
    expect(silent.lastAdded).toHaveLength(3)
    const flags = a.sent[0]?.added.map(({ uploadOnly, reachable }) => [uploadOnly, reachable])
    expect(flags).toEqual([
      [false, true],
      [true, false],
    ])
  })

  test('is told once a minute, and only what changed', () => {
    const { tell } = open()
    const peers = ['8.8.1.1:1', '8.8.2.2:2'].map((address) => new ExchangingPeer(address))
    const [a] = peers as [ExchangingPeer]
    tell(peers, 0)
    const c = new ExchangingPeer('8.8.3.3:3')
    peers.splice(1, 1, c)
    for (let now = 1000; now < MINUTE; now += 1000) tell(peers, now)
    expect(a.sent).toHaveLength(1)
    tell(peers, MINUTE)
    expect(a.sent[1]).toMatchObject({
      added: [{ address: { host: '8.8.3.3', port: 3 } }],
      dropped: [{ host: '8.8.2.2', port: 2 }],
    })
    for (let now = MINUTE; now < 4 * MINUTE; now += 1000) tell(peers, now)
    expect(a.sent).toHaveLength(2)
  })

  test('is at most 50 at a time', () => {
    const { tell } = open()
    const peers = many(130).map((address) => new ExchangingPeer(address))
    tell(peers, 0)
    tell(peers, MINUTE)
    for (const peer of peers) expect(peer.sent.map(({ added }) => added.length)).toEqual([50])
    peers.splice(1, 100)
    tell(peers, 2 * MINUTE)
    const [first] = peers as [ExchangingPeer]
    expect(first.sent).toHaveLength(2)
    expect(first.sent[1]?.dropped.length).toBeLessThanOrEqual(50)
    expect(first.sent[1]?.added.length).toBeLessThanOrEqual(50)
  })

  test('of an inner network is not told outside of it', () => {
    const { tell } = open()
    const inner = new ExchangingPeer('10.0.0.1:1')
    const innerToo = new ExchangingPeer('10.0.0.2:1')
    const outer = new ExchangingPeer('8.8.1.1:1')
    tell([inner, innerToo, outer], 0)
    expect(outer.sent).toEqual([])
    expect(inner.lastAdded).toEqual(['10.0.0.2:1', '8.8.1.1:1'])
  })

  test('is told to nobody who does not understand it', () => {
    const { tell } = open()
    const peers = ['8.8.1.1:1', '8.8.2.2:2'].map((address) => new ExchangingPeer(address))
    for (const peer of peers) peer.speaks = false
    tell(peers, 0)
    expect(peers.flatMap(({ sent }) => sent)).toEqual([])
  })
})

describe('what is heard', () => {
  const from = () => new ExchangingPeer('8.8.1.1:1')

  test('passes the address policy', () => {
    const { taken, receive } = open()
    receive(from(), ['127.0.0.1:1', '10.1.2.3:1', '169.254.169.254:80', '8.8.4.4:7'], 0)
    expect(taken).toEqual(['8.8.4.4:7'])
  })

  test('names each public host once, and more than one port of a host that we allowed', () => {
    const { taken, receive } = open({ allow: ['127.0.0.0/8'] })
    receive(from(), ['8.8.4.4:7', '8.8.4.4:8', '127.0.0.1:7', '127.0.0.1:8'], 0)
    expect(taken).toEqual(['8.8.4.4:7', '127.0.0.1:7', '127.0.0.1:8'])
  })

  test('is 50 addresses of a message, one message a minute, and not all from one peer', () => {
    const { taken, receive } = open({ takenAtMost: 120 })
    const [a, b] = [from(), from()]
    receive(a, many(60), 0)
    expect(taken).toHaveLength(50)
    receive(a, many(10, 1000), 1000)
    expect(taken).toHaveLength(50)
    for (let minute = 1; minute < 6; minute++) receive(a, many(50, minute * 50), minute * MINUTE)
    expect(taken).toHaveLength(120)
    receive(b, many(50, 2000), 1000)
    expect(taken).toHaveLength(170)
  })

  test('costs the connection of who floods us or sends something else', () => {
    const { receive, exchange } = open()
    const peer = from()
    const broken = expect.objectContaining({ code: 'ISTHMUS_WIRE_PROTOCOL' })
    for (let message = 0; message < 6; message++) receive(peer, many(1), message)
    expect(() => receive(peer, many(1), 7)).toThrow(broken)
    expect(() => receive(peer, many(1), MINUTE)).not.toThrow()
    expect(() => exchange.onMessage(from().asPeer, Buffer.from('le'), 0)).toThrow(broken)
  })
})

describe('over sockets', () => {
  const local = () => new EgressGuard({ policy: new AddressPolicy({ allow: ['127.0.0.0/8'] }) })
  const made = makeTorrent({ files: randomBytes(100_000, 3), pieceLength: 16_384 })

  test('two peers of a third one find each other', async () => {
    const known = openClient({ egress: local() })
    await seed(known, made, () => false)
    const clients = [openClient({ egress: local() }), openClient({ egress: local() })] as const
    const torrents = await Promise.all(
      clients.map((client) => client.add(made.torrent, { peers: [addressOf(known)] })),
    )
    await Promise.all(torrents.map((torrent) => peersOf(torrent, 2)))
    expect(torrents.map(({ peerCount }) => peerCount)).toEqual([2, 2])
  })

  test('of a private torrent it is not announced', async () => {
    const isPrivate = makeTorrent({
      files: randomBytes(100_000, 3),
      pieceLength: 16_384,
      private: true,
    })
    for (const { torrent, infoHash, speaks } of [
      { ...made, speaks: true },
      { ...isPrivate, speaks: false },
    ]) {
      const client = openClient()
      await client.add(torrent)
      const peer = await RawPeer.dial(client.address?.port ?? 0, infoHash, {})
      const greeting = await peer.greeting()
      expect(greeting).toContain('11:ut_metadata')
      expect(greeting.includes('6:ut_pex')).toBe(speaks)
    }
  })
})

/** Waits until a torrent has so many peers. */
async function peersOf(torrent: Awaited<ReturnType<typeof seed>>, count: number): Promise<void> {
  while (torrent.peerCount < count) {
    await new Promise<void>((resolve) => torrent.once('peer', () => resolve()))
  }
}
