import { type ChokeCandidate, Choker, type SeedingChoice } from '../picker/choker.ts'
import type { Peer } from './peer.ts'

export interface UploadSlotsOptions {
  readonly slots: number
  /** Time from one look at everybody to the next, in ms. */
  readonly roundMs: number
  readonly seeding?: SeedingChoice | undefined
  readonly random: () => number
  /** Whether we have all that we want. */
  readonly isSeeding: () => boolean
}

/**
 * Unchokes peers and chokes them again: a free slot is given away at once, and every round those who
 * have slots are weighed against those who wait.
 */
export class UploadSlots {
  readonly #options: UploadSlotsOptions
  readonly #choker: Choker<Peer>
  readonly #interested = new Set<Peer>()
  #timer: NodeJS.Timeout | undefined

  constructor(options: UploadSlotsOptions) {
    this.#options = options
    this.#choker = new Choker(options)
  }

  onInterest(peer: Peer): void {
    if (!peer.wire.control.peerInterested) return this.remove(peer)
    if (this.#interested.has(peer)) return
    this.#interested.add(peer)
    this.#timer ??= this.#startRounds()
    this.#fill()
  }

  /** It is gone, or wants nothing any more. */
  remove(peer: Peer): void {
    this.#interested.delete(peer)
    if (this.#interested.size === 0) this.close()
    if (!this.#choker.remove(peer)) return
    if (!peer.wire.closed) peer.wire.setChoking(true)
    this.#fill()
  }

  /** No rounds any more, until somebody is interested. */
  close(): void {
    clearInterval(this.#timer)
    this.#timer = undefined
  }

  #startRounds(): NodeJS.Timeout {
    return setInterval(() => this.#round(), this.#options.roundMs).unref()
  }

  #fill(): void {
    if (!this.#choker.hasFreeSlots || this.#interested.size === 0) return
    const now = performance.now()
    for (const peer of this.#choker.fill(this.#candidates(now), now)) peer.wire.setChoking(false)
  }

  #round(): void {
    const now = performance.now()
    const seeding = this.#options.isSeeding()
    const { choke, unchoke } = this.#choker.round(this.#candidates(now), now, { seeding })
    for (const peer of choke) peer.wire.setChoking(true)
    for (const peer of unchoke) peer.wire.setChoking(false)
  }

  #candidates(now: number): ChokeCandidate<Peer>[] {
    return [...this.#interested].map((peer) => ({
      peer,
      downloadRate: peer.downloadRate.perSecond(now),
      uploadRate: peer.uploadRate.perSecond(now),
      uploaded: peer.wire.data.uploaded,
      silentSince: peer.silentSince,
    }))
  }
}
