import { isIP } from 'node:net'
import type { AddressPolicy } from '../net/address-policy.ts'

/** Voters that are remembered; later ones take the place of the earliest. */
const VOTERS_AT_MOST = 64
/** What fewer say may be a lie. */
const VOTES_AT_LEAST = 3

/**
 * Under which address the world sees us, as far as peers tell (`yourip` of BEP 10): what most of them
 * say, else what the machine calls itself.
 */
export class OwnAddress {
  readonly #policy: AddressPolicy
  readonly #votes = new Map<string, string>()
  readonly #local = new Map<number, string>()

  constructor(policy: AddressPolicy) {
    this.#policy = policy
  }

  /** The peer at `voter` sees us at `address`. Every host has one vote. */
  vote(voter: string, address: string): void {
    // In a network of our own everybody sees an inner address of ours.
    if (!this.#policy.isPublic(voter) || !this.#policy.isPublic(address)) return
    this.#votes.delete(voter)
    this.#votes.set(voter, address)
    for (const [earliest] of this.#votes) {
      if (this.#votes.size <= VOTERS_AT_MOST) break
      this.#votes.delete(earliest)
    }
  }

  /** The machine's own end of a connection. */
  connectedFrom(address: string): void {
    this.#local.set(isIP(address), address)
  }

  /** The best guess for the family of an address; undefined before anything is known. */
  towards(host: string): string | undefined {
    const family = isIP(host)
    return this.#elected(family) ?? this.#local.get(family)
  }

  #elected(family: number): string | undefined {
    const counts = new Map<string, number>()
    let all = 0
    for (const address of this.#votes.values()) {
      if (isIP(address) !== family) continue
      all++
      counts.set(address, (counts.get(address) ?? 0) + 1)
    }
    for (const [address, count] of counts) {
      if (count >= VOTES_AT_LEAST && count * 2 > all) return address
    }
    return undefined
  }
}
