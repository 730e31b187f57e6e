import { formatPeerAddress, type PeerAddress } from '../net/peer-address.ts'

/**
 * Peers on their way to one consumer. Whoever is waiting already is not queued twice, and what
 * exceeds `maxPeers` is dropped: a source finds its peers again.
 */
export class PeerFeed implements AsyncIterable<PeerAddress> {
  readonly #maxPeers: number
  readonly #waiting = new Map<string, PeerAddress>()
  #ended = false
  #wake = () => {}

  constructor(maxPeers: number) {
    this.#maxPeers = maxPeers
  }

  push(peers: Iterable<PeerAddress>): void {
    for (const peer of peers) {
      if (this.#waiting.size >= this.#maxPeers) break
      this.#waiting.set(formatPeerAddress(peer), peer)
    }
    this.#wake()
  }

  /** Ends the iteration, at once: what is still waiting is dropped. */
  end(): void {
    this.#ended = true
    this.#waiting.clear()
    this.#wake()
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<PeerAddress> {
    while (!this.#ended) {
      for (const [key, peer] of this.#waiting) {
        this.#waiting.delete(key)
        yield peer
      }
      if (this.#ended || this.#waiting.size > 0) continue
      await new Promise<void>((resolve) => {
        this.#wake = resolve
      })
    }
  }
}
