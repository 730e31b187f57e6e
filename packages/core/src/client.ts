import { randomBytes } from 'node:crypto'
import type { Socket } from 'node:net'
import { DhtDiscovery, type DhtDiscoveryOptions } from './discovery/dht-discovery.ts'
import type { Discovery, PeerAddress } from './discovery/discovery.ts'
import { LsdDiscovery } from './discovery/lsd-discovery.ts'
import { IsthmusError, isIsthmusError } from './errors.ts'
import { Hasher } from './hash/hasher.ts'
import { createLimits, type Limits } from './limits.ts'
import { parseInfoHash, type TorrentId, torrentIdOf, wireInfoHash } from './metainfo/info-hash.ts'
import { type Metainfo, parseMetainfo } from './metainfo/metainfo.ts'
import { EgressGuard } from './net/egress-guard.ts'
import { parsePeerAddress } from './net/peer-address.ts'
import type { SeedingChoice } from './picker/choker.ts'
import type { SessionStore } from './session.ts'
import { SessionKeeper } from './session-keeper.ts'
import type { AbortOptions } from './signal.ts'
import { MemoryStorage } from './storage/memory-storage.ts'
import { PieceCache } from './storage/piece-cache.ts'
import type { Storage } from './storage/storage.ts'
import { ConnectionLimits } from './swarm/connection-limits.ts'
import { MemoryBudget } from './swarm/memory-budget.ts'
import { OwnAddress } from './swarm/own-address.ts'
import { Peer } from './swarm/peer.ts'
import { PeerListener } from './swarm/peer-sockets.ts'
import { type Rates, SharedRates } from './swarm/rates.ts'
import { Torrent } from './torrent.ts'
import type { TorrentContext } from './torrent-context.ts'
import { type ResolvedSource, resolveSource, type TorrentSource } from './torrent-source.ts'
import { typedEventEmitter } from './typed-event-emitter.ts'
import type { Handshake } from './wire/handshake.ts'
import { obfuscatedHash } from './wire/mse-keys.ts'
import { type ObfuscationSettings, payloadMethods } from './wire/obfuscation-policy.ts'
import type { WireObfuscation } from './wire/wire.ts'

export interface ListenOptions {
  /** Address to bind. @defaultValue all of the machine, IPv4 and IPv6 */
  readonly host?: string | undefined
  /** @defaultValue 0: any free one */
  readonly port?: number | undefined
}

export interface ClientOptions {
  /** Where pieces are kept. @defaultValue memory, 256 MiB */
  readonly storage?: Storage | undefined
  /** Replaces single limits. */
  readonly limits?: Partial<Limits> | undefined
  /** What {@link Client.rates} begins with. @defaultValue nothing is limited */
  readonly rates?: Partial<Rates> | undefined
  /** Whom a complete torrent prefers, where more want something than `limits.uploadSlots`. @defaultValue 'round-robin' */
  readonly seedingChoice?: SeedingChoice | undefined
  /** Where peers reach us; false: nowhere, we only connect out. */
  readonly listen?: ListenOptions | false | undefined
  /** Judges every address that a stranger names. @defaultValue the public internet only */
  readonly egress?: EgressGuard | undefined
  /** Whether trackers are asked. @defaultValue true */
  readonly trackers?: boolean | undefined
  /** Takes part in the DHT (BEP 5) with its first torrent that is announced. @defaultValue it does not */
  readonly dht?: DhtOptions | boolean | undefined
  /** Looks for peers in the local network (BEP 14); the address policy does not concern them. @defaultValue false */
  readonly lsd?: boolean | undefined
  /** Other sources of peers beside trackers. They stay the caller's: close them after the client. */
  readonly discovery?: readonly Discovery[] | undefined
  /** How connections to peers are hidden from networks (MSE). @defaultValue plain ones are dialed first, both kinds are taken */
  readonly obfuscation?: ObfuscationSettings | undefined
  /** Keeps this client's torrents in a shared storage apart from others. @defaultValue '' */
  readonly namespace?: string | undefined
  /** Remembers the torrents that are added, for `restore`. @defaultValue nothing is remembered */
  readonly session?: SessionStore | undefined
  /** 20 bytes (BEP 20). @defaultValue random, beginning with `-IS0001-` */
  readonly peerId?: Uint8Array | undefined
}

/** How a client takes part in the DHT. */
export type DhtOptions = Pick<
  DhtDiscoveryOptions,
  'host' | 'port' | 'bootstrap' | 'nodeId' | 'publicIp' | 'state' | 'readOnly'
>

export interface AddOptions extends AbortOptions {
  /** Peers to connect to, exempt from the address policy: the caller vouches for them. */
  readonly peers?: readonly (PeerAddress | string)[] | undefined
  /** Trackers beside those of the source. */
  readonly trackers?: readonly string[] | undefined
  /** Whether to look for peers at trackers and other sources. @defaultValue true */
  readonly announce?: boolean | undefined
  /** Instead of the client's storage. */
  readonly storage?: Storage | undefined
  /** What {@link Torrent.rates} begins with. @defaultValue nothing is limited */
  readonly rates?: Partial<Rates> | undefined
}

export interface RemoveOptions {
  /** Also deletes what the storage keeps of it. @defaultValue false */
  readonly destroyData?: boolean | undefined
}

/** What a {@link Client} tells: past facts, after which nothing is asked of a listener. */
export type ClientEvents = {
  /** A torrent was added. */
  torrent: (torrent: Torrent) => void
  /** A torrent was removed. */
  removed: (torrent: Torrent) => void
  /** Something went wrong that is survived; with the torrent that it happened to, if any. */
  warning: (error: IsthmusError, torrent?: Torrent) => void
}

/** Torrents that share a peer port, limits and a storage. */
export class Client extends typedEventEmitter<ClientEvents>() implements AsyncDisposable {
  readonly limits: Limits
  readonly #rates = new SharedRates()
  readonly #storage: Storage
  readonly #namespace: string
  readonly #guard: EgressGuard
  readonly #ownsGuard: boolean
  readonly #listener: PeerListener | undefined
  readonly #hasher = new Hasher()
  readonly #connections: ConnectionLimits
  readonly #context: TorrentContext
  /** By each hash that it has. */
  readonly #byHash = new Map<string, Torrent>()
  /** By the 20 bytes of its handshakes, in hex. */
  readonly #byHandshake = new Map<string, Torrent>()
  /** The 20 bytes of its handshakes, by the hash that obfuscated connections name it by, in hex. */
  readonly #byObfuscatedHash = new Map<string, Uint8Array>()
  readonly #obfuscation: ObfuscationSettings
  readonly #torrents = new Set<Torrent>()
  readonly #session: SessionKeeper | undefined
  readonly #dht: DhtDiscovery | undefined
  readonly #lsd: LsdDiscovery | undefined
  readonly #removing = new Set<Promise<void>>()
  /** Came in, and said nothing yet. */
  readonly #unrouted = new Set<Peer>()
  /** Known on, also when nobody listens there any more: trackers are told good-bye under it. */
  #port: number | undefined
  #closed: Promise<void> | undefined

  constructor(options: ClientOptions = {}) {
    super()
    this.setMaxListeners(0)
    const { storage = new MemoryStorage(), listen = {}, namespace = '', egress } = options
    const { discovery = [], trackers = true, peerId = createPeerId() } = options
    this.limits = createLimits(options.limits)
    this.#rates.set(options.rates ?? {})
    if (peerId.length !== 20) throw new RangeError('a peer id has 20 bytes')
    this.#storage = storage
    this.#namespace = namespace
    this.#obfuscation = options.obfuscation ?? {}
    payloadMethods(this.#obfuscation)
    this.#guard = egress ?? new EgressGuard()
    this.#ownsGuard = egress === undefined
    this.#connections = new ConnectionLimits(this.limits)
    const onWarning = (error: IsthmusError) => this.emit('warning', error)
    if (options.session !== undefined) {
      this.#session = new SessionKeeper({ store: options.session, limits: this.limits, onWarning })
    }
    if (listen !== false) {
      const onConnection = (socket: Socket, address: PeerAddress) => this.#accept(socket, address)
      this.#listener = new PeerListener({ ...listen, onConnection })
    }
    const peerPort = () => this.#port
    const { dht, lsd = false } = options
    if (dht !== undefined && dht !== false) {
      const chosen = dht === true ? {} : dht
      this.#dht = new DhtDiscovery({ ...chosen, guard: this.#guard, peerPort, onWarning })
    }
    if (lsd) this.#lsd = new LsdDiscovery({ peerPort, onWarning })
    this.#context = {
      limits: this.limits,
      peerId,
      hasher: this.#hasher,
      cache: new PieceCache(this.limits.cacheBytes),
      budget: new MemoryBudget(this.limits.memoryBytes),
      connections: this.#connections,
      guard: this.#guard,
      ownAddress: new OwnAddress(this.#guard.policy),
      rates: this.#rates,
      seedingChoice: options.seedingChoice,
      discovery: this.#dht === undefined ? discovery : [this.#dht, ...discovery],
      localDiscovery: this.#lsd === undefined ? [] : [this.#lsd],
      dhtPort: () => this.#dht?.address?.port,
      onDhtNode: (node) => this.#dht?.addNode(node),
      trackers,
      port: () => this.#port,
      obfuscation: this.#obfuscation,
      random: Math.random,
    }
  }

  /** How fast all torrents together may be. */
  get rates(): Rates {
    return this.#rates
  }

  get torrents(): readonly Torrent[] {
    return [...this.#torrents]
  }

  /** Nodes of the DHT that we know; undefined where we take no part in it. */
  get dhtNodes(): number | undefined {
    return this.#dht?.nodes
  }

  /** Where peers reach us, once we listen. */
  get address(): PeerAddress | undefined {
    return this.#listener?.address
  }

  /** Connections, also those that are being opened. */
  get peerCount(): number {
    return this.#connections.connected
  }

  /** Bytes of blocks per second, of all torrents. */
  get downloadRate(): number {
    return this.torrents.reduce((sum, torrent) => sum + torrent.downloadRate, 0)
  }

  /** Bytes of blocks per second, of all torrents. */
  get uploadRate(): number {
    return this.torrents.reduce((sum, torrent) => sum + torrent.uploadRate, 0)
  }

  /**
   * Adds a torrent, and answers without waiting for the swarm. One that is known already is answered
   * itself, with the peers and trackers added to it. Rejects with what is wrong with `source`, with
   * `ISTHMUS_METAINFO_UNSUPPORTED` for a v2-only torrent, `ISTHMUS_TORRENT_LIMIT`,
   * `ISTHMUS_LISTEN_FAILED` or `ISTHMUS_CLIENT_CLOSED`.
   */
  async add(source: TorrentSource, options: AddOptions = {}): Promise<Torrent> {
    this.#assertOpen()
    const { signal } = options
    const peers = (options.peers ?? []).map((peer) =>
      typeof peer === 'string' ? parsePeerAddress(peer) : peer,
    )
    const guard = this.#guard
    const resolved = await resolveSource(source, { guard, limits: this.limits, signal })
    await this.listen()
    signal?.throwIfAborted()
    this.#assertOpen()
    const known = this.get(resolved.id)
    const torrent = known ?? this.#create(resolved, options)
    // Who brings a storage along knows what is in it; we could not find it again.
    if (known === undefined && options.storage === undefined) this.#session?.keep(torrent)
    if (known !== undefined) {
      if (resolved.metainfo !== undefined) known.provide(resolved.metainfo)
      known.addTrackers(resolved.trackers.flat())
    }
    torrent.addTrackers(options.trackers ?? [])
    torrent.addStrangers(resolved.peers.map(parsePeerAddress))
    torrent.addPeers(peers)
    return torrent
  }

  /** Adds a torrent whose pieces `storage` has, or some of them. Resolves once it is ready. */
  async seed(
    metainfo: Metainfo | Uint8Array,
    storage: Storage,
    options: AddOptions = {},
  ): Promise<Torrent> {
    const parsed =
      metainfo instanceof Uint8Array ? parseMetainfo(metainfo, { limits: this.limits }) : metainfo
    const torrent = await this.add(parsed, { ...options, storage })
    await torrent.ready({ signal: options.signal })
    return torrent
  }

  /**
   * Adds what the session remembers from earlier runs. Resolves with how many torrents that were; a
   * record that makes no sense costs itself alone, with a warning.
   */
  async restore(): Promise<number> {
    this.#assertOpen()
    await this.listen()
    let restored = 0
    for (const record of (await this.#session?.load()) ?? []) {
      this.#assertOpen()
      if (this.get(record.id) !== undefined) continue
      try {
        const torrent = this.#create({ ...record, exactSources: [], peers: [] }, {})
        this.#session?.keep(torrent, record)
        restored++
      } catch (error) {
        if (!isIsthmusError(error)) throw error
        this.emit('warning', error)
      }
    }
    return restored
  }

  /** By its v1 or v2 info hash. @throws IsthmusError `ISTHMUS_INFO_HASH_INVALID`. */
  get(hash: string | TorrentId): Torrent | undefined {
    const { v1, v2 } = typeof hash === 'string' ? torrentIdOf(parseInfoHash(hash)) : hash
    return this.#byHash.get(v1 ?? '') ?? this.#byHash.get(v2 ?? '')
  }

  /** Ends its reads and connections, and closes its storage. Rejects with `ISTHMUS_TORRENT_UNKNOWN`. */
  async remove(torrent: Torrent | string, options: RemoveOptions = {}): Promise<void> {
    const found = typeof torrent === 'string' ? this.get(torrent) : torrent
    if (found === undefined || !this.#torrents.delete(found)) {
      throw new IsthmusError('ISTHMUS_TORRENT_UNKNOWN', 'there is no such torrent')
    }
    this.#forget(found)
    this.#session?.forget(found)
    const removing = found
      .close({ destroyData: options.destroyData ?? false })
      .finally(() => this.#removing.delete(removing))
    this.#removing.add(removing)
    await removing
    this.emit('removed', found)
  }

  /** Binds the peer port; `add` does so too. Rejects with `ISTHMUS_LISTEN_FAILED` or `ISTHMUS_CLIENT_CLOSED`. */
  async listen(): Promise<PeerAddress | undefined> {
    this.#assertOpen()
    const address = await this.#listener?.listen()
    this.#port = address?.port
    return address
  }

  /**
   * Accepts peers at another address of the machine from now on, without one at all of them, under the same port where that is
   * free there. Rejects like `listen`; connections stay in any case.
   */
  async listenOn(host?: string): Promise<PeerAddress | undefined> {
    this.#assertOpen()
    const address = await this.#listener?.moveTo(host)
    this.#port = address?.port
    return address
  }

  /**
   * Ends everything, tells trackers, and leaves nothing behind: no socket, timer, thread or file.
   * Rejects, once all else is closed, with what went wrong in a storage.
   */
  close(): Promise<void> {
    this.#closed ??= this.#close()
    return this.#closed
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }

  async #close(): Promise<void> {
    const torrents = [...this.#torrents]
    this.#torrents.clear()
    for (const torrent of torrents) this.#forget(torrent)
    const remembered = this.#session?.close()
    for (const peer of this.#unrouted) peer.close()
    const closed = await Promise.allSettled([
      remembered,
      this.#listener?.close(),
      ...torrents.map((torrent) => torrent.close()),
      ...this.#removing,
    ])
    this.#rates.close()
    await Promise.all([this.#dht?.close(), this.#lsd?.close(), this.#hasher.close()])
    if (this.#ownsGuard) await this.#guard.close()
    // Only once nothing is left behind.
    for (const result of closed) if (result.status === 'rejected') throw result.reason
  }

  #create(source: ResolvedSource, options: AddOptions): Torrent {
    if (source.id.v1 === undefined) {
      throw new IsthmusError(
        'ISTHMUS_METAINFO_UNSUPPORTED',
        'v2-only torrents are not transferred yet',
      )
    }
    if (this.#torrents.size >= this.limits.torrents) {
      throw new IsthmusError('ISTHMUS_TORRENT_LIMIT', 'there are as many torrents as are allowed')
    }
    const torrent = new Torrent(this.#context, {
      ...source,
      storage: options.storage ?? this.#storage,
      namespace: this.#namespace,
      announce: options.announce ?? true,
      rates: options.rates,
    })
    this.#torrents.add(torrent)
    this.#remember(torrent)
    torrent.on('ready', () => this.#remember(torrent))
    torrent.on('warning', (error) => this.emit('warning', error, torrent))
    torrent.start()
    this.emit('torrent', torrent)
    return torrent
  }

  #remember(torrent: Torrent): void {
    // A hybrid that came by one hash has the other one too once its metadata is there.
    for (const hash of hashesOf(torrent)) this.#byHash.set(hash, torrent)
    const infoHash = wireInfoHash(torrent.id)
    this.#byHandshake.set(handshakeKey(infoHash), torrent)
    this.#byObfuscatedHash.set(handshakeKey(obfuscatedHash(infoHash)), infoHash)
  }

  #forget(torrent: Torrent): void {
    for (const hash of hashesOf(torrent)) this.#byHash.delete(hash)
    const infoHash = wireInfoHash(torrent.id)
    this.#byHandshake.delete(handshakeKey(infoHash))
    this.#byObfuscatedHash.delete(handshakeKey(obfuscatedHash(infoHash)))
  }

  #accept(socket: Socket, address: PeerAddress): void {
    if (this.#closed !== undefined || !this.#connections.hasRoom) return void socket.destroy()
    this.#connections.accepted()
    const peer: Peer = new Peer({
      socket,
      address,
      incoming: true,
      limits: this.limits,
      obfuscation: this.#answering(),
      route: (_, handshake) => this.#route(peer, handshake),
      onLost: () => {
        this.#unrouted.delete(peer)
        this.#connections.closed()
      },
    })
    this.#unrouted.add(peer)
    socket.on('data', (chunk: Uint8Array) => peer.wire.receive(chunk))
  }

  /** How connections that come in may begin; plain ones alone need no layer. */
  #answering(): WireObfuscation | undefined {
    if (this.#obfuscation.policy === 'refuse') return undefined
    const findInfoHash = (hash: Uint8Array) => this.#byObfuscatedHash.get(handshakeKey(hash))
    return { role: 'respond', options: { ...this.#obfuscation, findInfoHash } }
  }

  #route(peer: Peer, handshake: Handshake) {
    const key = handshakeKey(handshake.infoHash)
    const hidden = peer.wire.obfuscatedInfoHash
    // It must speak of the torrent that it proved to know.
    if (hidden !== undefined && handshakeKey(hidden) !== key) return undefined
    const torrent = this.#byHandshake.get(key)
    const handler = torrent?.accept(peer, handshake)
    if (handler !== undefined) this.#unrouted.delete(peer)
    return handler
  }

  #assertOpen(): void {
    if (this.#closed !== undefined) {
      throw new IsthmusError('ISTHMUS_CLIENT_CLOSED', 'the client is closed')
    }
  }
}

function createPeerId(): Uint8Array {
  return Buffer.concat([Buffer.from('-IS0001-'), randomBytes(12)])
}

function hashesOf(torrent: Torrent): string[] {
  const { v1, v2 } = torrent.metainfo?.id ?? torrent.id
  return [v1, v2].filter((hash) => hash !== undefined)
}

function handshakeKey(infoHash: Uint8Array): string {
  return Buffer.from(infoHash).toString('hex')
}
