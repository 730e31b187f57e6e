import type { Pace } from './peer-pace.ts'

/** Below this share of the fastest peer's rate a peer is asked with care. */
const SLOW = 0.25
const UPDATE_MS = 50

/** How fast all peers together are that can be asked, looked at anew now and then. */
export class SwarmPace<P> {
  #bytesPerSecond = 0
  #fastest = 0
  #updatedAt = Number.NEGATIVE_INFINITY

  update(peers: Iterable<P>, paceOf: (peer: P) => Pace, now: number): void {
    if (now - this.#updatedAt < UPDATE_MS) return
    this.#updatedAt = now
    this.#bytesPerSecond = 0
    this.#fastest = 0
    for (const peer of peers) {
      const { bytesPerSecond = 0, willing = true } = paceOf(peer)
      const rate = willing ? bytesPerSecond : 0
      this.#bytesPerSecond += rate
      this.#fastest = Math.max(this.#fastest, rate)
    }
  }

  /** Whether anything came from anybody yet. */
  get isKnown(): boolean {
    return this.#fastest > 0
  }

  isSlow({ bytesPerSecond }: Pace): boolean {
    return bytesPerSecond !== undefined && bytesPerSecond < SLOW * this.#fastest
  }

  /** How long all together take for so many bytes, in ms. */
  timeFor(bytes: number): number {
    return (bytes / this.#bytesPerSecond) * 1000
  }
}
