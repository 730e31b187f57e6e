import type { PeerAddress } from '../discovery/discovery.ts'
import { formatPeerAddress } from '../net/peer-address.ts'

/** What we know of one address that we may connect to. */
export interface KnownPeer {
  readonly key: string
  readonly address: PeerAddress
  state: 'idle' | 'connected' | 'banned'
  failures: number
  /** How often it was dialed another way because it hung up without a handshake. */
  otherwise: number
  /** Not before this time (`performance.now()`). */
  nextAt: number
  /** It was sent away until then, for we had no use for each other. */
  deferred: boolean
  /** Among equals, who has more comes first; undefined until it is asked for. */
  priority?: number | undefined
}

export interface AddressBookOptions {
  /** Addresses that are not connected, at most. */
  readonly knownAtMost: number
  readonly random: () => number
}

const TRIES_IN_VAIN = 3
const FIRST_RETRY_MS = 2000
const LAST_RETRY_MS = 30 * 60_000

/** Addresses of one torrent's peers: whom to connect to next, and when to try again. */
export class AddressBook {
  readonly #options: AddressBookOptions
  readonly #peers = new Map<string, KnownPeer>()
  /** Addresses, and hosts with a peer id: many peers may share one host behind a NAT. */
  readonly #banned = new Set<string>()
  #priorityOf: ((address: PeerAddress) => number) | undefined

  constructor(options: AddressBookOptions) {
    this.#options = options
  }

  get size(): number {
    return this.#peers.size
  }

  /** Whether there is an address that was not tried in vain a few times. */
  get hasFresh(): boolean {
    for (const { state, failures } of this.#peers.values()) {
      if (state === 'idle' && failures < TRIES_IN_VAIN) return true
    }
    return false
  }

  /** @returns whether it is new. A full book takes nothing more. */
  add(address: PeerAddress): boolean {
    const key = formatPeerAddress(address)
    const known = this.#peers.get(key)
    if (known !== undefined || this.#peers.size >= this.#options.knownAtMost) return false
    if (this.#banned.has(key)) return false
    this.#peers.set(key, {
      key,
      address,
      state: 'idle',
      failures: 0,
      otherwise: 0,
      nextAt: 0,
      deferred: false,
    })
    return true
  }

  /** The caller wants this one tried now, whatever went wrong before. */
  hurry(address: PeerAddress): void {
    const known = this.#peers.get(formatPeerAddress(address))
    if (known?.state === 'idle') known.nextAt = 0
  }

  /** Those that were sent away are of use again. */
  hurryDeferred(): void {
    for (const peer of this.#peers.values()) {
      if (peer.state === 'idle' && peer.deferred) peer.nextAt = 0
    }
  }

  /** From now on addresses that are alike otherwise are tried in this order, the highest first. */
  prioritize(priorityOf: (address: PeerAddress) => number): void {
    this.#priorityOf = priorityOf
    for (const peer of this.#peers.values()) peer.priority = undefined
  }

  /** The next address to try: the one that failed least. */
  next(now: number): KnownPeer | undefined {
    let best: KnownPeer | undefined
    for (const peer of this.#peers.values()) {
      if (peer.state !== 'idle' || peer.nextAt > now) continue
      if (best === undefined || this.#comesBefore(peer, best)) best = peer
      if (best.failures === 0 && this.#priorityOf === undefined) break
    }
    return best
  }

  /** When `next` has something again, if nothing else happens. */
  nextAt(): number | undefined {
    let at: number | undefined
    for (const peer of this.#peers.values()) {
      if (peer.state === 'idle' && (at === undefined || peer.nextAt < at)) at = peer.nextAt
    }
    return at
  }

  connected(peer: KnownPeer): void {
    peer.state = 'connected'
  }

  /** It hung up before it shook hands: it is dialed again at once, otherwise. */
  retryOtherwise(peer: KnownPeer): void {
    peer.state = 'idle'
    peer.otherwise++
    peer.nextAt = 0
  }

  /**
   * The connection ended, or never came about. `useful`: something came over it. `waitMs`: it was
   * sent away for so long.
   */
  disconnected(peer: KnownPeer, now: number, useful: boolean, waitMs?: number): void {
    if (peer.state === 'banned') return
    peer.state = 'idle'
    if (!useful) peer.otherwise = 0
    peer.deferred = waitMs !== undefined
    peer.failures = useful || peer.deferred ? 0 : peer.failures + 1
    const backOff = FIRST_RETRY_MS * 2 ** Math.min(16, Math.max(0, peer.failures - 1))
    const wait = waitMs ?? Math.min(LAST_RETRY_MS, backOff)
    // Spread, so that a swarm that broke together does not come back together.
    peer.nextAt = now + wait * (0.75 + 0.5 * this.#options.random())
  }

  /** No connection to this address, and none from this host under this peer id, any more. */
  ban(address: PeerAddress, peerId: Uint8Array | undefined): void {
    const key = formatPeerAddress(address)
    this.#banned.add(key)
    if (peerId !== undefined) this.#banned.add(identity(address, peerId))
    const known = this.#peers.get(key)
    if (known !== undefined) known.state = 'banned'
  }

  isBanned(address: PeerAddress, peerId: Uint8Array): boolean {
    return (
      this.#banned.has(formatPeerAddress(address)) || this.#banned.has(identity(address, peerId))
    )
  }

  #comesBefore(peer: KnownPeer, other: KnownPeer): boolean {
    if (peer.failures !== other.failures) return peer.failures < other.failures
    return this.#priority(peer) > this.#priority(other)
  }

  #priority(peer: KnownPeer): number {
    peer.priority ??= this.#priorityOf?.(peer.address) ?? 0
    return peer.priority
  }
}

function identity(address: PeerAddress, peerId: Uint8Array): string {
  return `${address.host} ${Buffer.from(peerId).toString('hex')}`
}
