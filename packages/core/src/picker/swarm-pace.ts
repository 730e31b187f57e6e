import { arrivalMs, type Pace } from './peer-pace.ts'

/** Below this share of the fastest peer's rate a peer is asked with care. */
const SLOW = 0.25
const UPDATE_MS = 50

/** How fast all peers together are that can be asked, looked at anew now and then. */
export class SwarmPace<P> {
  #bytesPerSecond = 0
  #fastest = 0
  #typicalMs = 0
  #updatedAt = Number.NEGATIVE_INFINITY

  update(peers: Iterable<P>, paceOf: (peer: P) => Pace, now: number): void {
    if (now - this.#updatedAt < UPDATE_MS) return
    this.#updatedAt = now
    this.#bytesPerSecond = 0
    this.#fastest = 0
    let weighed = 0
    for (const peer of peers) {
      const pace = paceOf(peer)
      const { bytesPerSecond: rate = 0, willing = true } = pace
      if (!willing || rate === 0) continue
      this.#bytesPerSecond += rate
      this.#fastest = Math.max(this.#fastest, rate)
      weighed += rate * (arrivalMs(pace) ?? 0)
    }
    this.#typicalMs = this.#bytesPerSecond === 0 ? 0 : weighed / this.#bytesPerSecond
  }

  /** When a block comes that is asked for now, from whom most blocks come. */
  get typicalMs(): number {
    return this.#typicalMs
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
