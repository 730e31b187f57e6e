import type { Peer } from './peer.ts'

/** Decides who is unchoked: those who are interested, as many as there are slots, first come first served. */
export class UploadSlots {
  readonly #slots: number
  readonly #unchoked = new Set<Peer>()
  readonly #waiting = new Set<Peer>()

  constructor(slots: number) {
    this.#slots = slots
  }

  onInterest(peer: Peer): void {
    if (!peer.wire.control.peerInterested) return this.remove(peer)
    if (this.#unchoked.has(peer)) return
    this.#waiting.add(peer)
    this.#hand()
  }

  remove(peer: Peer): void {
    this.#waiting.delete(peer)
    if (!this.#unchoked.delete(peer)) return
    if (!peer.wire.closed) peer.wire.setChoking(true)
    this.#hand()
  }

  #hand(): void {
    for (const peer of this.#waiting) {
      if (this.#unchoked.size >= this.#slots) return
      this.#waiting.delete(peer)
      this.#unchoked.add(peer)
      peer.wire.setChoking(false)
    }
  }
}
