import { randomInt } from 'node:crypto'
import { IsthmusError } from '../errors.ts'
import { defaultLimits, type Limits } from '../limits.ts'
import { type TorrentId, wireInfoHash } from '../metainfo/info-hash.ts'
import type { EgressGuard } from '../net/egress-guard.ts'
import { formatPeerAddress, type PeerAddress } from '../net/peer-address.ts'
import type { AbortOptions } from '../signal.ts'
import type { AnnounceReply, AnnounceRequest } from './announce.ts'
import type { AnnounceEvent, AnnounceOptions, Discovery, TransferTotals } from './discovery.ts'
import { announceHttp } from './http-tracker.ts'
import { PeerFeed } from './peer-feed.ts'
import { type Schedule, scheduleUnref } from './schedule.ts'
import { type Tell, TrackerSession } from './tracker-session.ts'
import { type Tracker, TrackerTiers } from './tracker-tiers.ts'
import { UdpConnections } from './udp-connections.ts'
import { announceUdp } from './udp-tracker.ts'

export interface TrackerDiscoveryOptions {
  /** URLs in tiers (BEP 12): http, https, udp. */
  readonly trackers: readonly (readonly string[])[]
  /** Every connection to a tracker passes it. It stays the caller's. */
  readonly guard: EgressGuard
  /** 20 bytes. */
  readonly peerId: Uint8Array
  /** Where we listen for peers, asked for each announce. */
  readonly port: () => number
  /** What the regular announces report. */
  readonly totals: () => TransferTotals
  readonly limits?: Limits | undefined
  /** A tracker failed or warned; another one may have answered. @defaultValue nobody hears of it */
  readonly onWarning?: ((error: IsthmusError, tracker: string) => void) | undefined
  /** @defaultValue timers that do not keep the process alive */
  readonly schedule?: Schedule | undefined
  /** From 0 up to but not including 1. @defaultValue Math.random */
  readonly random?: (() => number) | undefined
  /** How long `stopped` may take. @defaultValue 3_000 */
  readonly stoppedTimeoutMs?: number | undefined
}

export interface TrackerStatus {
  readonly url: string
  /** From 0; a tier is asked when all before it failed. */
  readonly tier: number
  readonly state: Tracker['state']
  /** The last error or warning. */
  readonly message?: string | undefined
  readonly seeders?: number | undefined
  readonly leechers?: number | undefined
  /** Peers in the last reply. */
  readonly peers?: number | undefined
}

/**
 * Peers from the trackers of a torrent (BEP 3, 7, 12, 15, 23, 41). `announce('started')` begins the
 * regular announces, at the interval that the tracker asks for, and `stopped` ends them; a failed
 * round is repeated after 15 s, then twice as long each time, up to half an hour. `find` yields the
 * peers of every reply, the last ones again for whoever comes later; they are not judged by the
 * guard here but by whoever dials them.
 */
export class TrackerDiscovery implements Discovery {
  readonly #options: TrackerDiscoveryOptions
  readonly #limits: Limits
  readonly #tiers: TrackerTiers
  readonly #schedule: Schedule
  readonly #key = randomInt(2 ** 32)
  readonly #udpConnections = new UdpConnections()
  readonly #torrents = new Map<string, AnnouncedTorrent>()
  #closing: Promise<void> | undefined

  constructor(options: TrackerDiscoveryOptions) {
    const { limits = defaultLimits, schedule = scheduleUnref, random = Math.random } = options
    this.#options = options
    this.#limits = limits
    this.#schedule = schedule
    this.#tiers = new TrackerTiers(limits.trackers, random)
    for (const tier of options.trackers) this.#tiers.add(tier, this.#warn)
  }

  /** Appends a tier; torrents that are announced already are announced to it at once. */
  addTrackers(urls: readonly string[]): void {
    const tier = this.#tiers.add(urls, this.#warn)
    for (const { session } of this.#torrents.values()) session.announceToAdded(tier)
  }

  /** Every tracker, in the order in which they are asked. */
  get status(): readonly TrackerStatus[] {
    return this.#tiers.tiers.flatMap((trackers, tier) =>
      trackers.map(({ url, ...status }) => ({ url: url.href, tier, ...status })),
    )
  }

  async *find(id: TorrentId, { signal }: AbortOptions): AsyncGenerator<PeerAddress> {
    if (this.#closing !== undefined || signal?.aborted === true) return
    const torrent = this.#torrent(id)
    const feed = new PeerFeed(this.#limits.knownPeers)
    const end = () => feed.end()
    signal?.addEventListener('abort', end, { once: true })
    torrent.feeds.add(feed)
    feed.push(torrent.known.values())
    try {
      yield* feed
    } finally {
      signal?.removeEventListener('abort', end)
      torrent.feeds.delete(feed)
      this.#forget(id, torrent)
    }
  }

  /**
   * Resolves once a tracker took it, which is one of the first tier where one answers; rejects with
   * `ISTHMUS_TRACKER_FAILED` when none did, with `ISTHMUS_DISCOVERY_FAILED` where there is none or
   * when a `stopped` overtakes it. `completed` goes out once, however often it is announced;
   * `stopped` goes to every tracker that knows us.
   */
  async announce(id: TorrentId, event: AnnounceEvent, options: AnnounceOptions): Promise<void> {
    options.signal?.throwIfAborted()
    if (this.#closing !== undefined) {
      throw new IsthmusError('ISTHMUS_CLIENT_CLOSED', 'the discovery is closed')
    }
    const torrent = this.#torrent(id)
    try {
      await torrent.session.announce(event, options)
    } finally {
      this.#forget(id, torrent)
    }
  }

  /** Announces `stopped` where regular announces go on, waiting about 3 s for it at most. */
  close(): Promise<void> {
    this.#closing ??= this.#close()
    return this.#closing
  }

  async #close(): Promise<void> {
    const torrents = [...this.#torrents.values()]
    this.#torrents.clear()
    for (const { feeds } of torrents) for (const feed of feeds) feed.end()
    const totals = this.#options.totals()
    const goodbyes = torrents.map(({ session }) => session.announce('stopped', { totals }))
    // Whether they hear it is up to the trackers: they forget peers that fall silent.
    await Promise.allSettled(goodbyes)
  }

  #torrent(id: TorrentId): AnnouncedTorrent {
    const key = keyOf(id)
    const torrent = this.#torrents.get(key) ?? this.#createTorrent(id)
    this.#torrents.set(key, torrent)
    return torrent
  }

  #createTorrent(id: TorrentId): AnnouncedTorrent {
    const infoHash = wireInfoHash(id)
    const feeds = new Set<PeerFeed>()
    const known = new Map<string, PeerAddress>()
    const session = new TrackerSession({
      tiers: this.#tiers,
      schedule: this.#schedule,
      totals: this.#options.totals,
      stoppedTimeoutMs: this.#options.stoppedTimeoutMs ?? 3000,
      onWarning: this.#warn,
      tell: (tracker, tell) => this.#tell(tracker, infoHash, tell),
      onPeers: (peers) => {
        this.#remember(known, peers)
        for (const feed of feeds) feed.push(peers)
      },
    })
    return { session, feeds, known }
  }

  #tell(tracker: Tracker, infoHash: Uint8Array, tell: Tell): Promise<AnnounceReply> {
    const { timeoutMs, signal, ...told } = tell
    const { guard, peerId, port } = this.#options
    const request: AnnounceRequest = { ...told, infoHash, peerId, port: port(), key: this.#key }
    const maxBytes = this.#limits.trackerResponseBytes
    const options = { guard, maxBytes, timeoutMs, signal, connections: this.#udpConnections }
    const announce = tracker.url.protocol === 'udp:' ? announceUdp : announceHttp
    return announce(tracker.url, request, options)
  }

  /** The newest stay, for whoever begins to look later. */
  #remember(known: Map<string, PeerAddress>, peers: readonly PeerAddress[]): void {
    for (const peer of peers) {
      const key = formatPeerAddress(peer)
      known.delete(key)
      known.set(key, peer)
    }
    for (const key of known.keys()) {
      if (known.size <= this.#limits.knownPeers) break
      known.delete(key)
    }
  }

  /** Nothing is kept of a torrent that nobody announces or looks for. */
  #forget(id: TorrentId, { session, feeds }: AnnouncedTorrent): void {
    if (!session.isActive && feeds.size === 0) this.#torrents.delete(keyOf(id))
  }

  readonly #warn = (error: IsthmusError, tracker: string): void => {
    this.#options.onWarning?.(error, tracker)
  }
}

interface AnnouncedTorrent {
  readonly session: TrackerSession
  readonly feeds: Set<PeerFeed>
  readonly known: Map<string, PeerAddress>
}

function keyOf(id: TorrentId): string {
  return Buffer.from(wireInfoHash(id)).toString('hex')
}
