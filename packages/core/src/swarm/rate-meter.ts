const BUCKETS = 5

/** Bytes per second over the last few seconds, without a timer. */
export class RateMeter {
  readonly #bytes = new Float64Array(BUCKETS)
  #second = 0
  #since = 0
  #total = 0

  /** All bytes ever. */
  get total(): number {
    return this.#total
  }

  /** @param now Milliseconds, from the same clock in every call. */
  add(bytes: number, now: number): void {
    this.#advance(now)
    const index = this.#second % BUCKETS
    this.#bytes[index] = (this.#bytes[index] as number) + bytes
    this.#total += bytes
  }

  perSecond(now: number): number {
    if (this.#total === 0) return 0
    this.#advance(now)
    const sum = this.#bytes.reduce((a, b) => a + b, 0)
    // Right after the start the window is shorter than it will be.
    const seconds = Math.min(BUCKETS - 1 + (now % 1000) / 1000, (now - this.#since) / 1000)
    return sum === 0 ? 0 : sum / Math.max(0.25, seconds)
  }

  #advance(now: number): void {
    const second = Math.floor(now / 1000)
    if (this.#total === 0) {
      this.#since = now
      this.#second = second
      return
    }
    const steps = Math.min(BUCKETS, second - this.#second)
    for (let step = 1; step <= steps; step++) this.#bytes[(this.#second + step) % BUCKETS] = 0
    if (steps > 0) this.#second = second
  }
}
