import type { PeerAddress } from '../discovery/discovery.ts'
import type { EgressGuard } from '../net/egress-guard.ts'
import { formatPeerAddress } from '../net/peer-address.ts'
import { protocolError } from '../wire/frames.ts'
import {
  decodePeerExchange,
  EXCHANGED_AT_MOST,
  type ExchangedPeer,
  encodePeerExchange,
} from '../wire/ut-pex.ts'
import type { Peer } from './peer.ts'

export const PEER_EXCHANGE = 'ut_pex'

export interface PeerExchangeOptions {
  readonly guard: EgressGuard
  /** Addresses that are taken from one peer at most: one source alone shall not name all that we know. */
  readonly takenAtMost: number
  /** Numbers from 0 up to 1. */
  readonly random: () => number
  /** Addresses that may be dialed. */
  readonly onAddresses: (addresses: readonly PeerAddress[]) => void
}

interface Exchange {
  /** What the peer knows from us, by key: 50 at a time, so that a thousand peers stay small. */
  readonly told: Map<string, PeerAddress>
  /** When it may be told more (`performance.now()`). */
  tellAt: number
  /** From when on a message of it counts. */
  takeAt: number
  taken: number
  /** Messages since then. */
  messages: number
  since: number
}

interface Known {
  readonly byKey: ReadonlyMap<string, ExchangedPeer>
  readonly all: readonly (readonly [string, ExchangedPeer])[]
}

/** BEP 11: no more than one message a minute. */
const INTERVAL_MS = 60_000
/** Its minute may be shorter than ours by so much. */
const TOLERANCE_MS = 10_000
/** Where nothing had changed. */
const LOOK_AGAIN_MS = 5000
/** So many messages in a minute are a flood. */
const MESSAGES_AT_MOST = 6

/** Peers that are connected tell each other whom else they are connected to (BEP 11). */
export class PeerExchange {
  readonly #options: PeerExchangeOptions
  readonly #exchanges = new Map<Peer, Exchange>()

  constructor(options: PeerExchangeOptions) {
    this.#options = options
  }

  /** Tells every peer whose minute is over what changed. To be called every now and then. */
  tell(peers: Iterable<Peer>, now: number): void {
    let known: Known | undefined
    for (const peer of peers) {
      if (!peer.wire.control.speaks(PEER_EXCHANGE)) continue
      const exchange = this.#exchangeOf(peer)
      if (now < exchange.tellAt) continue
      known ??= listeningPeers(peers)
      this.#tell(peer, exchange, known, now)
    }
  }

  /** Throws `ISTHMUS_WIRE_PROTOCOL` where the peer breaks BEP 11, or floods us. */
  onMessage(peer: Peer, payload: Uint8Array, now: number): void {
    const exchange = this.#exchangeOf(peer)
    if (now - exchange.since >= INTERVAL_MS) {
      exchange.since = now
      exchange.messages = 0
    }
    if (++exchange.messages > MESSAGES_AT_MOST) throw protocolError('a flood of peer exchanges')
    const { added } = decodePeerExchange(payload)
    if (now < exchange.takeAt) return
    exchange.takeAt = now + INTERVAL_MS - TOLERANCE_MS
    const taken = this.#acceptable(added).slice(0, this.#options.takenAtMost - exchange.taken)
    exchange.taken += taken.length
    if (taken.length > 0) this.#options.onAddresses(taken)
  }

  removePeer(peer: Peer): void {
    this.#exchanges.delete(peer)
  }

  #tell(peer: Peer, exchange: Exchange, known: Known, now: number): void {
    const { told } = exchange
    const dropped = [...told].filter(([key]) => !known.byKey.has(key))
    for (const [key] of dropped) told.delete(key)
    const added = this.#news(peer, told, known.all)
    const isNews = added.length > 0 || dropped.length > 0
    exchange.tellAt = now + (isNews ? INTERVAL_MS : LOOK_AGAIN_MS)
    if (!isNews) return
    const message = encodePeerExchange({ added, dropped: dropped.map(([, address]) => address) })
    peer.wire.control.sendExtension(PEER_EXCHANGE, message)
  }

  /** From a random place on, so that not everybody hears of the same ones. */
  #news(
    peer: Peer,
    told: Map<string, PeerAddress>,
    all: readonly (readonly [string, ExchangedPeer])[],
  ): ExchangedPeer[] {
    const ownKey = keyOf(peer)
    const from = Math.floor(this.#options.random() * all.length)
    const added: ExchangedPeer[] = []
    for (let step = 0; step < all.length && told.size < EXCHANGED_AT_MOST; step++) {
      const [key, other] = all[(from + step) % all.length] as (typeof all)[number]
      if (key === ownKey || told.has(key) || !this.#mayHear(peer, other.address)) continue
      told.set(key, other.address)
      added.push(other)
    }
    return added
  }

  /** Addresses of an inner network are nobody's business outside of it. */
  #mayHear(peer: Peer, { host }: PeerAddress): boolean {
    const { policy } = this.#options.guard
    return policy.isPublic(host) || !policy.isPublic(peer.address.host)
  }

  /** Strangers' addresses: the guard decides, and of one public host one port is enough (BEP 11). */
  #acceptable(added: readonly ExchangedPeer[]): PeerAddress[] {
    const { guard } = this.#options
    const hosts = new Set<string>()
    return added.slice(0, EXCHANGED_AT_MOST).flatMap(({ address }) => {
      if (!guard.allowsPeer(address) || hosts.has(address.host)) return []
      // In networks that the user allowed, many peers may well share one host.
      if (guard.policy.isPublic(address.host)) hosts.add(address.host)
      return [address]
    })
  }

  #exchangeOf(peer: Peer): Exchange {
    let exchange = this.#exchanges.get(peer)
    if (exchange === undefined) {
      exchange = { told: new Map(), tellAt: 0, takeAt: 0, taken: 0, messages: 0, since: 0 }
      this.#exchanges.set(peer, exchange)
    }
    return exchange
  }
}

/** Those that can be dialed: we did so, or they said where they listen. */
function listeningPeers(peers: Iterable<Peer>): Known {
  const byKey = new Map<string, ExchangedPeer>()
  for (const peer of peers) {
    const key = keyOf(peer)
    const address = peer.listenAddress
    if (key === undefined || address === undefined) continue
    byKey.set(key, {
      address,
      uploadOnly: peer.isSeed || peer.uploadOnly,
      reachable: !peer.incoming,
    })
  }
  return { byKey, all: [...byKey] }
}

function keyOf({ listenAddress }: Peer): string | undefined {
  return listenAddress && formatPeerAddress(listenAddress)
}
