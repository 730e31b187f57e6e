import { randomBytes } from 'node:crypto'
import { LRUCache } from 'lru-cache'
import { IsthmusError } from '../errors.ts'
import { defaultLimits, type Limits } from '../limits.ts'
import { type TorrentId, wireInfoHash } from '../metainfo/info-hash.ts'
import { formatPeerAddress, type PeerAddress } from '../net/peer-address.ts'
import { type AbortOptions, abortable } from '../signal.ts'
import type { AnnounceEvent, AnnounceOptions, Discovery } from './discovery.ts'
import { encodeLsdMessage, MAX_LSD_INFO_HASHES, parseLsdMessage } from './lsd-message.ts'
import { LsdSockets } from './lsd-sockets.ts'
import { PacketRates } from './packet-rates.ts'
import { PeerFeed } from './peer-feed.ts'
import { type Schedule, scheduleUnref } from './schedule.ts'

export interface LsdDiscoveryOptions {
  /** Where we listen for peers, asked for each announce; undefined: nowhere, and nothing is announced. */
  readonly peerPort: () => number | undefined
  /** Names of network interfaces. @defaultValue all that lead out of the machine, else loopback */
  readonly interfaces?: readonly string[] | undefined
  /** Of the multicast groups. @defaultValue 6771 (BEP 14) */
  readonly port?: number | undefined
  readonly limits?: Limits | undefined
  /** Nothing could be sent or heard: told once until it works again. @defaultValue nobody hears of it */
  readonly onWarning?: ((error: IsthmusError) => void) | undefined
  /** @defaultValue timers that do not keep the process alive */
  readonly schedule?: Schedule | undefined
  /** A clock in ms. @defaultValue Date.now */
  readonly now?: (() => number) | undefined
}

/** BEP 14. */
const LSD_PORT = 6771
const ANNOUNCE_MS = 5 * 60_000
// BEP 14: at most one announce per minute.
const PAUSE_MS = 60_000
const HEARD_TORRENTS = 1000
const HEARD_PEERS = 50
const HEARD_MS = 2 * ANNOUNCE_MS
const PACKETS_PER_SECOND = 50
const SOURCE_PACKETS_PER_SECOND = 20

/**
 * Peers on the local network (BEP 14), over IPv4 and IPv6 multicast. A torrent is announced from its
 * first `announce` on, every 5 minutes until `stopped`: up to 24 in one message, and one message a
 * minute, so it may have to wait for its turn. What others announce is remembered for 10 minutes, for
 * whoever looks later.
 *
 * It yields the address that an announce came from, which is always on a network of ours: so these
 * peers may be dialed where an address policy denies private addresses to strangers. The sockets are
 * opened on first use or by `listen`, and never keep the process alive. Never hand private torrents to
 * it (BEP 27).
 */
export class LsdDiscovery implements Discovery {
  readonly #options: LsdDiscoveryOptions
  readonly #limits: Limits
  readonly #schedule: Schedule
  readonly #now: () => number
  readonly #cookie = randomBytes(8).toString('hex')
  readonly #sockets: LsdSockets
  readonly #rates: PacketRates
  readonly #heard: LRUCache<string, Map<string, PeerAddress>>
  readonly #feeds = new Map<string, Set<PeerFeed>>()
  /** Announced torrents, and when each of them is due. */
  readonly #due = new Map<string, number>()
  #sentAt = Number.NEGATIVE_INFINITY
  #opening: Promise<void> | undefined
  #sending: Promise<void> = Promise.resolve()
  #timerAt = Number.POSITIVE_INFINITY
  #cancelTimer = () => {}
  #failing = false
  #closing: Promise<void> | undefined

  constructor(options: LsdDiscoveryOptions) {
    const { limits = defaultLimits, schedule = scheduleUnref, now = Date.now } = options
    this.#options = options
    this.#limits = limits
    this.#schedule = schedule
    this.#now = now
    const perf = { now }
    this.#heard = new LRUCache({ max: HEARD_TORRENTS, ttl: HEARD_MS, ttlResolution: 0, perf })
    this.#rates = new PacketRates({
      totalPerSecond: PACKETS_PER_SECOND,
      sourcePerSecond: SOURCE_PACKETS_PER_SECOND,
      now,
    })
    this.#sockets = new LsdSockets({
      port: options.port ?? LSD_PORT,
      interfaces: options.interfaces,
      onMessage: (datagram, from) => this.#receive(datagram, from),
    })
  }

  /** Joins the multicast groups. Rejects with `ISTHMUS_LISTEN_FAILED` where no interface takes part. */
  async listen(): Promise<void> {
    this.#assertOpen()
    this.#opening ??= this.#open().finally(() => {
      this.#opening = undefined
    })
    await this.#opening
  }

  async *find(id: TorrentId, { signal }: AbortOptions): AsyncGenerator<PeerAddress> {
    if (this.#closing !== undefined || signal?.aborted === true) return
    const key = keyOf(id)
    const feed = new PeerFeed(this.#limits.knownPeers)
    const feeds = this.#feeds.get(key) ?? new Set()
    this.#feeds.set(key, feeds.add(feed))
    feed.push(this.#heard.get(key)?.values() ?? [])
    // It is warned of, and tried again with the next announce.
    this.listen().catch(() => {})
    const end = () => feed.end()
    signal?.addEventListener('abort', end, { once: true })
    try {
      yield* feed
    } finally {
      signal?.removeEventListener('abort', end)
      feeds.delete(feed)
      if (feeds.size === 0 && this.#feeds.get(key) === feeds) this.#feeds.delete(key)
    }
  }

  /**
   * Resolves once it was sent, or has its turn within the next minutes. Rejects with
   * `ISTHMUS_DISCOVERY_FAILED` where it cannot be sent; it is tried again all the same.
   */
  async announce(id: TorrentId, event: AnnounceEvent, { signal }: AnnounceOptions): Promise<void> {
    signal?.throwIfAborted()
    this.#assertOpen()
    const key = keyOf(id)
    if (event === 'stopped') {
      // BEP 14 has no good-bye.
      this.#due.delete(key)
      return
    }
    if (this.#due.has(key)) return
    this.#due.set(key, this.#now())
    if (this.#now() < this.#sentAt + PAUSE_MS) this.#planAt(this.#sentAt + PAUSE_MS)
    else await abortable(this.#send(), signal)
  }

  /** Leaves no socket or timer behind. */
  close(): Promise<void> {
    this.#closing ??= this.#close()
    return this.#closing
  }

  async #close(): Promise<void> {
    this.#cancelTimer()
    for (const feeds of this.#feeds.values()) for (const feed of feeds) feed.end()
    await this.#opening?.catch(() => {})
    await this.#sending
    await this.#sockets.close()
  }

  async #open(): Promise<void> {
    try {
      await this.#sockets.open()
      this.#failing = false
    } catch (cause) {
      const text = 'local service discovery works on no network interface'
      const error = new IsthmusError('ISTHMUS_LISTEN_FAILED', text, { cause })
      this.#warn(error)
      throw error
    }
  }

  /** What is due, as far as it fits into one message. */
  #send(): Promise<void> {
    const sending = this.#sending.then(() => this.#sendNow())
    this.#sending = sending.catch(() => {})
    return sending
  }

  async #sendNow(): Promise<void> {
    const now = this.#now()
    if (this.#closing !== undefined || now < this.#sentAt + PAUSE_MS) return this.#plan()
    const due = [...this.#due].filter(([, at]) => at <= now).sort(([, a], [, b]) => a - b)
    const infoHashes = due.slice(0, MAX_LSD_INFO_HASHES).map(([key]) => key)
    const port = this.#options.peerPort()
    if (infoHashes.length === 0) return this.#plan()
    for (const key of infoHashes) this.#due.set(key, now + ANNOUNCE_MS)
    // Nobody can reach us: there is nothing to announce.
    if (port === undefined || port === 0) return this.#plan()
    this.#sentAt = now
    this.#plan()
    try {
      // Interfaces come and go.
      await this.listen()
      const message = { port, infoHashes, cookie: this.#cookie }
      await this.#sockets.send((host) => encodeLsdMessage(host, message))
    } catch (cause) {
      const text = 'the announce on the local network could not be sent'
      const error = new IsthmusError('ISTHMUS_DISCOVERY_FAILED', text, { cause })
      this.#warn(error)
      throw error
    }
  }

  /** Plans for whatever is due first. */
  #plan(): void {
    const first = [...this.#due.values()].reduce((a, b) => Math.min(a, b), Number.POSITIVE_INFINITY)
    if (first === Number.POSITIVE_INFINITY) return
    this.#planAt(Math.max(first, this.#sentAt + PAUSE_MS))
  }

  #planAt(at: number): void {
    if (this.#closing !== undefined || at >= this.#timerAt) return
    this.#cancelTimer()
    this.#timerAt = at
    const run = () => {
      this.#timerAt = Number.POSITIVE_INFINITY
      this.#send().catch(() => {})
    }
    this.#cancelTimer = this.#schedule(run, Math.max(0, at - this.#now()))
  }

  #receive(datagram: Uint8Array, { host }: PeerAddress): void {
    if (this.#closing !== undefined || !this.#rates.admits(host)) return
    const message = parseLsdMessage(datagram)
    if (message === undefined || message.cookie === this.#cookie) return
    const peer = { host, port: message.port }
    for (const key of message.infoHashes) {
      this.#remember(key, peer)
      for (const feed of this.#feeds.get(key) ?? []) feed.push([peer])
    }
  }

  #remember(key: string, peer: PeerAddress): void {
    const peers = this.#heard.get(key) ?? new Map<string, PeerAddress>()
    peers.delete(formatPeerAddress(peer))
    peers.set(formatPeerAddress(peer), peer)
    const [oldest] = peers.keys()
    if (peers.size > HEARD_PEERS && oldest !== undefined) peers.delete(oldest)
    this.#heard.set(key, peers)
  }

  #assertOpen(): void {
    if (this.#closing !== undefined) {
      throw new IsthmusError('ISTHMUS_CLIENT_CLOSED', 'the discovery is closed')
    }
  }

  #warn(error: IsthmusError): void {
    if (this.#failing || this.#closing !== undefined) return
    this.#failing = true
    this.#options.onWarning?.(error)
  }
}

function keyOf(id: TorrentId): string {
  return Buffer.from(wireInfoHash(id)).toString('hex')
}
