/** How many requests one peer should have under way. */
export interface RequestWindowOptions {
  /** What the peer keeps (`reqq`), or what we are content with. */
  readonly atMost: number
  /**
   * How long an answer may queue at the peer beyond its round trip, in ms. More throughput costs it
   * nothing; a seek waits that much longer. @defaultValue 40
   */
  readonly queueMs?: number | undefined
}

const FIRST = 16
const LEAST = 4
/** A path can get longer, so the shortest wait is found out anew when it was not seen for so long. */
const REMEMBERED_MS = 10_000

/** Answers came so much more slowly with fewer requests that it was not a queue which made them wait. */
const HURT = 0.6
/** How long waits are taken as they are, once fewer requests turned out not to shorten them. */
const PATIENCE_MS = 30_000
/** Longer than any tick that peers have been seen to answer at. */
const PAUSE_MS = 1500

/**
 * Finds the bandwidth-delay product by the delay alone: more requests as long as answers come
 * promptly, fewer as soon as they queue up. Some peers answer at the ticks of a slow timer; there
 * fewer requests bring fewer answers and no shorter waits, so the waits are put up with.
 */
export class RequestWindow {
  #atMost: number
  readonly #queueMs: number
  #size: number
  #slowStart = true
  #leastMs = Number.POSITIVE_INFINITY
  #leastUntil = 0
  #shrunkAt = 0
  /** Answers since `at`, for the rate. */
  #epoch = { at: 0, answers: 0 }
  #lastAt = 0
  /** What came before the present shrinking, and what came since of what was asked since. */
  #peak: { size: number; rate: number; at: number; answers: number } | undefined
  #patience = { ms: 0, until: 0 }
  /** Since when one request at a time is sent, until the queue has drained and shows the path behind it. */
  #probe: { readonly since: number; readonly size: number } | undefined

  constructor({ atMost, queueMs = 40 }: RequestWindowOptions) {
    this.#atMost = atMost
    this.#queueMs = queueMs
    this.#size = Math.min(FIRST, atMost)
  }

  /** Requests that may be under way now. */
  get size(): number {
    return Math.floor(this.#size)
  }

  /** The shortest wait seen of late, in ms; unknown at first. */
  get roundTripMs(): number | undefined {
    return this.#leastMs === Number.POSITIVE_INFINITY ? undefined : this.#leastMs
  }

  limit(atMost: number): void {
    this.#atMost = Math.max(1, atMost)
    this.#size = Math.min(this.#size, this.#atMost)
  }

  /** A block came `waitedMs` after it was asked for. */
  answered(waitedMs: number, now: number): void {
    if (this.#probe !== undefined) {
      // Asked before: it stood in the queue.
      if (now - waitedMs < this.#probe.since) return
      this.#size = Math.min(this.#atMost, this.#probe.size)
      this.#probe = undefined
      this.#setLeast(waitedMs, now)
    } else if (waitedMs <= this.#leastMs) {
      this.#setLeast(waitedMs, now)
    } else if (now > this.#leastUntil) {
      // Taking the present wait for the shortest would let the queue creep up, a little each time.
      this.#probe = { since: now, size: this.#size }
      this.#size = 1
      return
    }
    this.#count(waitedMs, now)
    const patienceMs = now < this.#patience.until ? this.#patience.ms : 0
    if (waitedMs <= Math.max(this.#leastMs, patienceMs) + this.#queueMs) {
      this.#size = Math.min(this.#atMost, this.#size + (this.#slowStart ? 1 : 1 / this.#size))
      return
    }
    this.#slowStart = false
    // Once per round trip: the answers to what is under way tell the same story again.
    if (now - this.#shrunkAt < waitedMs) return
    if (this.#hasHurt(waitedMs, now)) return
    this.#shrunkAt = now
    const fits = (this.#leastMs + this.#queueMs) / waitedMs
    const least = Math.min(LEAST, this.#atMost)
    this.#size = Math.max(least, this.#size * Math.max(0.5, fits))
  }

  #count(waitedMs: number, now: number): void {
    // A pause of ours says nothing about the peer.
    if (now - this.#lastAt > Math.max(PAUSE_MS, 2 * waitedMs)) {
      this.#epoch = { at: now, answers: 0 }
      this.#peak = undefined
    }
    this.#lastAt = now
    this.#epoch.answers++
    if (this.#peak !== undefined && now - waitedMs >= this.#peak.at) this.#peak.answers++
  }

  /** Whether shrinking has cost answers instead of shortening the queue; then it is undone. */
  #hasHurt(waitedMs: number, now: number): boolean {
    const peak = this.#peak
    if (peak === undefined) {
      const ms = now - this.#epoch.at
      if (ms < waitedMs) return false
      this.#peak = { size: this.#size, rate: this.#epoch.answers / ms, at: now, answers: 0 }
      return false
    }
    const ms = now - peak.at - waitedMs
    if (this.#size > peak.size / 2 || ms < 2 * waitedMs) return false
    const rate = peak.answers / ms
    this.#peak = undefined
    this.#epoch = { at: now, answers: 0 }
    if (rate > HURT * peak.rate) return false
    this.#size = Math.min(this.#atMost, peak.size)
    this.#slowStart = true
    this.#patience = { ms: waitedMs, until: now + PATIENCE_MS }
    return true
  }

  #setLeast(waitedMs: number, now: number): void {
    this.#leastMs = waitedMs
    this.#leastUntil = now + REMEMBERED_MS
  }
}
