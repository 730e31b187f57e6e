/** What was not used is kept so long: enough for a timer that came late, too little for a flood. */
const BURST_MS = 250

/**
 * A token bucket: on average no more bytes than it says. What passes at once may make a debt, which
 * time pays. It is pure: no clock of its own; `now` is milliseconds, from the same clock in every call.
 */
export class RateLimit {
  #bytesPerSecond = Number.POSITIVE_INFINITY
  #tokens = 0
  #at: number | undefined

  /** `Infinity`: no limit. 0: nothing passes. */
  get bytesPerSecond(): number {
    return this.#bytesPerSecond
  }

  /** Takes effect at once, and forgives what was owed. @throws RangeError for a negative number or NaN. */
  set bytesPerSecond(bytesPerSecond: number) {
    if (!(bytesPerSecond >= 0)) {
      throw new RangeError(`a rate is not negative: ${bytesPerSecond}`)
    }
    this.#bytesPerSecond = bytesPerSecond
    this.#tokens = 0
    this.#at = undefined
  }

  get isUnlimited(): boolean {
    return this.#bytesPerSecond === Number.POSITIVE_INFINITY
  }

  /** How long until something may pass, in ms; 0: now. */
  waitMs(now: number): number {
    if (this.isUnlimited) return 0
    if (this.#bytesPerSecond === 0) return Number.POSITIVE_INFINITY
    this.#advance(now)
    return this.#tokens >= 0 ? 0 : (-this.#tokens / this.#bytesPerSecond) * 1000
  }

  /** So many bytes pass. */
  spend(bytes: number, now: number): void {
    if (this.isUnlimited) return
    this.#advance(now)
    this.#tokens -= bytes
  }

  /** So many did not pass after all. */
  refund(bytes: number): void {
    if (!this.isUnlimited) this.#tokens = Math.min(this.#tokens + bytes, this.#mostTokens)
  }

  get #mostTokens(): number {
    return (this.#bytesPerSecond * BURST_MS) / 1000
  }

  #advance(now: number): void {
    const ms = now - (this.#at ?? now)
    this.#at = now
    this.#tokens = Math.min(this.#tokens + (ms * this.#bytesPerSecond) / 1000, this.#mostTokens)
  }
}
