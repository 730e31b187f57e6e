import { IsthmusError } from '../errors.ts'
import { defaultLimits, type Limits } from '../limits.ts'
import { type TorrentId, wireInfoHash } from '../metainfo/info-hash.ts'
import type { EgressGuard } from '../net/egress-guard.ts'
import { parseIpAddress } from '../net/ip-address.ts'
import type { PeerAddress } from '../net/peer-address.ts'
import type { AbortOptions } from '../signal.ts'
import { routerUrl } from './dht-contacts.ts'
import { DhtNode } from './dht-node.ts'
import { NODE_ID_BYTES } from './dht-node-id.ts'
import { DhtSession } from './dht-session.ts'
import type { DhtStateStore } from './dht-state.ts'
import type { AnnounceEvent, AnnounceOptions, Discovery } from './discovery.ts'
import { type Schedule, scheduleUnref } from './schedule.ts'

export interface DhtDiscoveryOptions {
  /** Nobody that it denies is asked, answered or yielded; names in `bootstrap` pass it. It stays the caller's. */
  readonly guard: EgressGuard
  /** Where we listen for peers, asked for each announce; undefined: nowhere, and nothing is announced. */
  readonly peerPort: () => number | undefined
  /** IPv4 address to bind; `::` counts as all. @defaultValue 0.0.0.0 */
  readonly host?: string | undefined
  /** @defaultValue 0: any free one */
  readonly port?: number | undefined
  /** `host:port` of nodes that are asked where no other is known. @defaultValue the well-known routers */
  readonly bootstrap?: readonly string[] | undefined
  /** 20 bytes. @defaultValue the saved one, else a random one that fits `publicIp` */
  readonly nodeId?: Uint8Array | undefined
  /** The IPv4 address that others see, where it is known: the node id is made to fit it (BEP 42). */
  readonly publicIp?: string | undefined
  /** Keeps the node id and known nodes across restarts. @defaultValue kept nowhere */
  readonly state?: DhtStateStore | undefined
  /** Asks, but does not answer (BEP 43). @defaultValue false */
  readonly readOnly?: boolean | undefined
  /** Believes only nodes whose id fits their address (BEP 42), local networks excepted. @defaultValue false */
  readonly enforceNodeIds?: boolean | undefined
  /** Datagrams that are looked at, beside answers to our questions. @defaultValue 200 */
  readonly packetsPerSecond?: number | undefined
  /** Datagrams of one /24 that are looked at. @defaultValue 20 */
  readonly sourcePacketsPerSecond?: number | undefined
  readonly limits?: Limits | undefined
  /**
   * The socket cannot be bound or nobody answers, which is told once until somebody does; or the state
   * could not be kept. @defaultValue nobody hears of it
   */
  readonly onWarning?: ((error: IsthmusError) => void) | undefined
  /** @defaultValue timers that do not keep the process alive */
  readonly schedule?: Schedule | undefined
  /** A clock in ms. @defaultValue Date.now */
  readonly now?: (() => number) | undefined
  /** From 0 up to but not including 1. @defaultValue Math.random */
  readonly random?: (() => number) | undefined
}

const WELL_KNOWN_ROUTERS = [
  'router.bittorrent.com:6881',
  'dht.transmissionbt.com:6881',
  'router.utorrent.com:6881',
  'dht.libtorrent.org:25401',
]

/**
 * Peers from the DHT (BEP 5, IPv4). One node serves every torrent of a client; it begins with the first
 * `find`, `announce` or `listen`, and never keeps the process alive. Lookups are repeated every 5
 * minutes while somebody looks, sooner while few peers are known; after `announce('started')` the peer
 * port is announced every 15 minutes until `stopped`. Never hand private torrents to it (BEP 27).
 */
export class DhtDiscovery implements Discovery {
  readonly #options: DhtDiscoveryOptions
  readonly #node: DhtNode
  readonly #sessions = new Map<string, DhtSession>()
  #closing: Promise<void> | undefined

  /** @throws TypeError or RangeError for an option that makes no sense. */
  constructor(options: DhtDiscoveryOptions) {
    const { host = '0.0.0.0', port = 0, bootstrap = WELL_KNOWN_ROUTERS } = options
    const { nodeId, publicIp, onWarning = () => {} } = options
    const { packetsPerSecond = 200, sourcePacketsPerSecond = 20 } = options
    if (nodeId !== undefined && nodeId.length !== NODE_ID_BYTES) {
      throw new RangeError('a node id has 20 bytes')
    }
    if (publicIp !== undefined) assertIpv4(publicIp)
    for (const router of bootstrap) routerUrl(router)
    this.#options = options
    this.#node = new DhtNode({
      guard: options.guard,
      host: host === '::' ? '0.0.0.0' : host,
      port,
      bootstrap,
      nodeId,
      publicIp,
      state: options.state,
      readOnly: options.readOnly ?? false,
      enforceNodeIds: options.enforceNodeIds ?? false,
      packetsPerSecond,
      sourcePacketsPerSecond,
      onWarning,
      schedule: options.schedule ?? scheduleUnref,
      now: options.now ?? Date.now,
    })
  }

  /** Nodes in the routing table: those that answered us. */
  get nodes(): number {
    return this.#node.nodes
  }

  /** Where other nodes reach us, once we listen; what BEP 5 peers tell each other is its port. */
  get address(): PeerAddress | undefined {
    return this.#node.address
  }

  /** Where most other nodes see us (BEP 42), once three of them said so. */
  get externalAddress(): string | undefined {
    return this.#node.externalAddress
  }

  /** Binds the socket and looks for other nodes behind it. Rejects with `ISTHMUS_LISTEN_FAILED`. */
  listen(): Promise<PeerAddress> {
    return this.#node.listen()
  }

  /**
   * Somebody, as a peer with its `port` message, says that a DHT node is there: an IPv4 literal and a
   * port. It is asked, unless the guard denies it or too many wait; it is known once it answered.
   */
  addNode(node: PeerAddress): void {
    this.#node.addNode(node)
  }

  async *find(id: TorrentId, { signal }: AbortOptions): AsyncGenerator<PeerAddress> {
    if (this.#closing !== undefined || signal?.aborted === true) return
    const session = this.#session(id)
    const feed = session.addFeed()
    const end = () => feed.end()
    signal?.addEventListener('abort', end, { once: true })
    try {
      yield* feed
    } finally {
      signal?.removeEventListener('abort', end)
      session.removeFeed(feed)
      this.#forget(id, session)
    }
  }

  /**
   * Resolves once a node took it; rejects with `ISTHMUS_DISCOVERY_FAILED` when none did, and
   * `ISTHMUS_LISTEN_FAILED`. After `started` it is tried again all the same.
   */
  async announce(id: TorrentId, event: AnnounceEvent, options: AnnounceOptions): Promise<void> {
    options.signal?.throwIfAborted()
    if (this.#closing !== undefined) {
      throw new IsthmusError('ISTHMUS_CLIENT_CLOSED', 'the discovery is closed')
    }
    const session = this.#session(id)
    try {
      await session.announce(event, options)
    } finally {
      this.#forget(id, session)
    }
  }

  /** Saves the state, and leaves no socket or timer behind. */
  close(): Promise<void> {
    this.#closing ??= this.#close()
    return this.#closing
  }

  async #close(): Promise<void> {
    for (const session of this.#sessions.values()) session.end()
    this.#sessions.clear()
    await this.#node.close()
  }

  #session(id: TorrentId): DhtSession {
    const infoHash = wireInfoHash(id)
    const key = keyOf(infoHash)
    const { guard, peerPort, limits = defaultLimits, schedule = scheduleUnref } = this.#options
    const { now = Date.now, random = Math.random } = this.#options
    const known = this.#sessions.get(key)
    if (known !== undefined) return known
    const session = new DhtSession({
      node: this.#node,
      infoHash,
      peerPort,
      allows: (peer) => guard.allowsPeer(peer),
      maxPeers: limits.knownPeers,
      schedule,
      now,
      random,
    })
    this.#sessions.set(key, session)
    return session
  }

  /** Nothing is kept of a torrent that nobody announces or looks for. */
  #forget(id: TorrentId, session: DhtSession): void {
    const key = keyOf(wireInfoHash(id))
    if (session.isActive || this.#sessions.get(key) !== session) return
    this.#sessions.delete(key)
    session.end()
  }
}

function assertIpv4(address: string): void {
  if (parseIpAddress(address)?.length !== 4) {
    throw new TypeError(`the public IP of the DHT is an IPv4 address, not ${address}`)
  }
}

function keyOf(infoHash: Uint8Array): string {
  return Buffer.from(infoHash).toString('hex')
}
