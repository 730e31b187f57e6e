import { IsthmusError } from '../errors.ts'
import { formatPeerAddress, type PeerAddress } from '../net/peer-address.ts'
import { type AbortOptions, abortable } from '../signal.ts'
import type { DhtNode } from './dht-node.ts'
import type { AnnounceEvent } from './discovery.ts'
import { PeerFeed } from './peer-feed.ts'
import type { Schedule } from './schedule.ts'

export interface DhtSessionOptions {
  readonly node: Pick<DhtNode, 'lookup' | 'announce'>
  readonly infoHash: Uint8Array
  readonly peerPort: () => number | undefined
  /** Whether a peer that others name may be yielded. */
  readonly allows: (peer: PeerAddress) => boolean
  readonly maxPeers: number
  readonly schedule: Schedule
  /** A clock in ms. */
  readonly now: () => number
  /** From 0 up to but not including 1. */
  readonly random: () => number
}

const MINUTE_MS = 60_000
const LOOKUP_MS = 5 * MINUTE_MS
// Nodes forget a peer after half an hour or so.
const ANNOUNCE_MS = 15 * MINUTE_MS
const FIRST_RETRY_MS = 10_000
/** With fewer peers the next lookup is sooner. */
const FEW_PEERS = 10

/**
 * The lookups and announces of one torrent, one round after the other: every 5 minutes while somebody
 * looks, after a minute (then two, then four) while few were found, and every 15 minutes to announce.
 */
export class DhtSession {
  readonly #options: DhtSessionOptions
  readonly #ended = new AbortController()
  readonly #feeds = new Set<PeerFeed>()
  readonly #known = new Map<string, PeerAddress>()
  #announcing = false
  /** An announce that was asked for and not made yet. */
  #announceDue = false
  #announcedAt = Number.NEGATIVE_INFINITY
  #lookedAt = Number.NEGATIVE_INFINITY
  #failures = 0
  #scarceRounds = 0
  #pending = 0
  #inRound = false
  #tail: Promise<void> = Promise.resolve()
  #next: Promise<void> | undefined
  #cancelTimer = () => {}

  constructor(options: DhtSessionOptions) {
    this.#options = options
  }

  /** Somebody looks, or we are announced. */
  get isActive(): boolean {
    return this.#announcing || this.#pending > 0 || this.#feeds.size > 0
  }

  /** What is known is in the feed at once; what is found comes later. */
  addFeed(): PeerFeed {
    const feed = new PeerFeed(this.#options.maxPeers)
    this.#feeds.add(feed)
    feed.push(this.#known.values())
    this.#scarceRounds = 0
    this.#plan()
    return feed
  }

  removeFeed(feed: PeerFeed): void {
    this.#feeds.delete(feed)
    this.#plan()
  }

  async announce(event: AnnounceEvent, { signal }: AbortOptions): Promise<void> {
    signal?.throwIfAborted()
    if (event === 'stopped') {
      // BEP 5 has no good-bye: nodes forget us.
      this.#announcing = false
      this.#announceDue = false
      this.#plan()
      return
    }
    // BEP 5 does not tell seeders from others.
    if (event === 'completed' && this.#announcing) return
    if (event === 'started') this.#announcing = true
    this.#announceDue = true
    this.#pending++
    try {
      await abortable(this.#request(), signal)
    } finally {
      this.#pending--
    }
  }

  /** Ends the feeds and every round. */
  end(): void {
    this.#ended.abort(new IsthmusError('ISTHMUS_CLIENT_CLOSED', 'the discovery is closed'))
    this.#cancelTimer()
    for (const feed of this.#feeds) feed.end()
  }

  /** A round that begins from now on; several who ask meanwhile get the same one. */
  #request(): Promise<void> {
    this.#next ??= this.#tail.then(() => {
      this.#next = undefined
      return this.#round()
    })
    const round = this.#next
    this.#tail = round.catch(() => {})
    return round
  }

  async #round(): Promise<void> {
    const { signal } = this.#ended
    this.#cancelTimer()
    this.#inRound = true
    try {
      signal.throwIfAborted()
      const { node, infoHash } = this.#options
      const answers = await node.lookup(infoHash, (peer) => this.#found(peer), signal)
      if (answers === 0) throw nobody('no DHT node answered')
      if (this.#isAnnounceDue(MINUTE_MS)) await this.#announce(signal)
      this.#failures = 0
      this.#scarceRounds = this.#known.size < FEW_PEERS ? this.#scarceRounds + 1 : 0
    } catch (error) {
      this.#failures++
      // Whoever asked hears of it; what was asked for meanwhile has a round of its own.
      if (!this.#announcing && this.#next === undefined) this.#announceDue = false
      throw error
    } finally {
      this.#inRound = false
      this.#lookedAt = this.#options.now()
      this.#plan()
    }
  }

  async #announce(signal: AbortSignal): Promise<void> {
    const { node, infoHash, peerPort, now } = this.#options
    const port = peerPort()
    this.#announceDue = false
    // Nobody can reach us: there is nothing to announce.
    if (port !== undefined && port !== 0) {
      const taken = await node.announce(infoHash, port, signal)
      if (taken === 0) throw nobody('no DHT node took the announce')
    }
    this.#announcedAt = now()
  }

  #isAnnounceDue(aheadMs: number): boolean {
    if (this.#announceDue) return true
    return this.#announcing && this.#options.now() >= this.#announcedAt + ANNOUNCE_MS - aheadMs
  }

  #found(peer: PeerAddress): void {
    if (!(peer.port >= 1 && peer.port <= 65_535) || !this.#options.allows(peer)) return
    const key = formatPeerAddress(peer)
    const isNew = !this.#known.delete(key)
    this.#known.set(key, peer)
    // The newest stay, for whoever begins to look later.
    const [oldest] = this.#known.keys()
    if (this.#known.size > this.#options.maxPeers && oldest !== undefined) {
      this.#known.delete(oldest)
    }
    if (isNew) for (const feed of this.#feeds) feed.push([peer])
  }

  /** Sets the timer for the next round, if there is to be one. */
  #plan(): void {
    this.#cancelTimer()
    if (this.#ended.signal.aborted || !(this.#announcing || this.#feeds.size > 0)) return
    // At its end, a round plans the next one.
    if (this.#inRound || this.#next !== undefined) return
    const { schedule, now, random } = this.#options
    const delayMs = Math.max(0, this.#nextRoundAt() - now())
    // Torrents that were added together do not stay together.
    const jittered = delayMs * (0.9 + random() * 0.1)
    this.#cancelTimer = schedule(() => {
      // Who asked for an announce hears of its failure; a lookup is simply made again.
      this.#request().catch(() => {})
    }, jittered)
  }

  #nextRoundAt(): number {
    if (this.#failures > 0) {
      return this.#lookedAt + Math.min(FIRST_RETRY_MS * 2 ** (this.#failures - 1), LOOKUP_MS)
    }
    const announceAt = this.#announcing ? this.#announcedAt + ANNOUNCE_MS : Number.POSITIVE_INFINITY
    return Math.min(this.#nextLookupAt(), announceAt)
  }

  #nextLookupAt(): number {
    if (this.#feeds.size === 0) return Number.POSITIVE_INFINITY
    if (this.#scarceRounds === 0) return this.#lookedAt + LOOKUP_MS
    return this.#lookedAt + Math.min(MINUTE_MS * 2 ** (this.#scarceRounds - 1), LOOKUP_MS)
  }
}

function nobody(text: string): IsthmusError {
  return new IsthmusError('ISTHMUS_DISCOVERY_FAILED', text)
}
