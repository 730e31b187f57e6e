import type { PeerAddress } from '../discovery/discovery.ts'
import type { AddressBook } from './address-book.ts'
import type { OwnAddress } from './own-address.ts'
import type { Peer } from './peer.ts'
import { peerPriority } from './peer-priority.ts'

export interface PeerTurnoverOptions {
  /** The connected ones. Not a copy: the swarm changes it. */
  readonly peers: ReadonlySet<Peer>
  readonly book: AddressBook
  readonly ownAddress: OwnAddress
  /** Where we listen; undefined while we do not. */
  readonly port: () => number | undefined
  /** Whether we want nothing of anybody. */
  readonly isComplete: () => boolean
}

/** So long a peer may do nothing before somebody else may have its place. */
const IDLE_MS = 60_000
/** Somebody who is known gets a place that way no more often than this. */
const CHECK_MS = 30_000

/**
 * Who makes room in a swarm that is full: those who are of no use, for those whom we and they should
 * prefer to them (BEP 40), so that newcomers get in and floods of one network do not.
 */
export class PeerTurnover {
  readonly #options: PeerTurnoverOptions
  /** For which addresses of ours the book is in order. */
  #orderedFor = ''
  #checkedAt = 0

  constructor(options: PeerTurnoverOptions) {
    this.#options = options
  }

  /** A peer connected; by it we know what the machine calls itself. */
  joined(peer: Peer): void {
    const { ownAddress, book } = this.#options
    if (peer.localHost !== undefined) ownAddress.connectedFrom(peer.localHost)
    const own = `${ownAddress.towards('0.0.0.0')} ${ownAddress.towards('::')}`
    if (own === this.#orderedFor) return
    this.#orderedFor = own
    book.prioritize((address) => this.#priorityOf(address))
  }

  /** Closes whoever is of no use and of a lower priority. @returns whether there was anybody. */
  makeRoomFor(address: PeerAddress, now: number): boolean {
    const least = leastUseful(this.#options.peers, now, {
      isComplete: this.#options.isComplete(),
      priorityOf: (peer) => this.#priorityOf(peer.address),
    })
    if (least === undefined || least.priority >= this.#priorityOf(address)) return false
    least.peer.close()
    return true
  }

  /** The swarm is full: now and then somebody who is known and did not fail yet gets a place. */
  check(now: number): void {
    if (now - this.#checkedAt < CHECK_MS) return
    this.#checkedAt = now
    const known = this.#options.book.next(now)
    if (known !== undefined && known.failures === 0) this.makeRoomFor(known.address, now)
  }

  #priorityOf(address: PeerAddress): number {
    const host = this.#options.ownAddress.towards(address.host)
    if (host === undefined) return 0
    return peerPriority({ host, port: this.#options.port() ?? 0 }, address)
  }
}

export interface Replaceable {
  readonly peer: Peer
  readonly priority: number
}

/**
 * Of those who are of no use to us or we to them, the one with the lowest priority. Who ever sent us
 * something is of use as long as we want something.
 */
export function leastUseful(
  peers: Iterable<Peer>,
  now: number,
  options: { readonly isComplete: boolean; readonly priorityOf: (peer: Peer) => number },
): Replaceable | undefined {
  let least: Replaceable | undefined
  for (const peer of peers) {
    if (now - peer.openedAt < IDLE_MS || peer.uploadRate.perSecond(now) > 0) continue
    if (!options.isComplete && peer.wire.data.downloaded > 0) continue
    const priority = options.priorityOf(peer)
    if (least === undefined || priority < least.priority) least = { peer, priority }
  }
  return least
}
