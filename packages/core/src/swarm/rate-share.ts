import { BLOCK_LENGTH } from '../metainfo/layout.ts'
import { RateLimit } from './rate-limit.ts'

/** A turn brings about as much as the limit allows in so long. */
const TURN_MS = 50
const TURN_BYTES_AT_MOST = 256 * 1024
/** Timers that are shorter would only burn time. */
const TIMER_AT_LEAST_MS = 5

/** Who did not take all of its turns may make up for so many, and no more. */
const TURNS_IN_ARREARS = 4

/**
 * A place where a rate is shared: a client, below it its torrents, below them their peers, each with
 * a limit of its own. As long as something is limited, whoever had least has the next turn: between
 * torrents first, then between the peers of a torrent. Without limits it costs a few comparisons.
 */
export class RateShare {
  readonly #limit = new RateLimit()
  readonly #parent: RateShare | undefined
  readonly #root: RateShare
  /** A peer's: called when its turn came. */
  readonly #wake: (() => void) | undefined
  /** Below: who waits, or has somebody who waits. */
  #waiting: Set<RateShare> | undefined
  /** Bytes of a turn that are not used yet. */
  #credit = 0
  /** What passed here, as far as it counts among those of one parent. */
  #passed = 0
  /** What had passed for those below when they were last let through: who comes anew begins about there. */
  #level = 0
  #timer: NodeJS.Timeout | undefined
  #timerAt = Number.POSITIVE_INFINITY

  constructor(parent?: RateShare, wake?: () => void) {
    this.#parent = parent
    this.#root = parent === undefined ? this : parent.#root
    this.#wake = wake
  }

  /** `Infinity`: no limit. @throws RangeError for a negative number or NaN. */
  get bytesPerSecond(): number {
    return this.#limit.bytesPerSecond
  }

  set bytesPerSecond(bytesPerSecond: number) {
    if (bytesPerSecond === this.#limit.bytesPerSecond) return
    this.#limit.bytesPerSecond = bytesPerSecond
    // Who waits may have to wait no more.
    if (this.#root.#waiting !== undefined) this.#root.#runAt(performance.now())
  }

  /** Whether anything here or above has a limit. */
  get isLimited(): boolean {
    return !this.#limit.isUnlimited || this.#parent?.isLimited === true
  }

  /** How many bytes may pass now; where it is none, `wake` is called when the turn has come. */
  allowance(): number {
    if (!this.isLimited) return Number.POSITIVE_INFINITY
    if (this.#credit > 0) return this.#credit
    const now = performance.now()
    if (this.#isFree(now)) return this.#turnBytes
    this.#wait(now)
    return 0
  }

  /** So many bytes pass. */
  spend(bytes: number): void {
    if (!this.isLimited) return
    const prepaid = Math.min(Math.max(0, this.#credit), bytes)
    this.#credit -= prepaid
    if (bytes > prepaid) this.#charge(bytes - prepaid, performance.now())
  }

  /** So many bytes did not pass after all. */
  refund(bytes: number): void {
    for (let share: RateShare | undefined = this; share !== undefined; share = share.#parent) {
      share.#limit.refund(bytes)
      share.#passed -= bytes
    }
  }

  /** What is left of the turn is for others. */
  release(): void {
    if (this.#credit > 0) this.refund(this.#credit)
    this.#credit = 0
  }

  /** Nobody waits here any more. */
  close(): void {
    this.release()
    clearTimeout(this.#timer)
    this.#waiting = undefined
    // Those above it do not wait any more either, unless for somebody else.
    for (let share: RateShare = this; share.#parent !== undefined; share = share.#parent) {
      if (share.#waiting !== undefined && share.#waiting.size > 0) break
      share.#parent.#waiting?.delete(share)
    }
  }

  /** Nothing forbids it, and nobody who waits would be passed over. */
  #isFree(now: number): boolean {
    if (this.#limit.waitMs(now) > 0) return false
    if (!this.#limit.isUnlimited && this.#waiting !== undefined && this.#waiting.size > 0)
      return false
    return this.#parent === undefined || this.#parent.#isFree(now)
  }

  #charge(bytes: number, now: number): void {
    for (let share: RateShare | undefined = this; share !== undefined; share = share.#parent) {
      share.#limit.spend(bytes, now)
      const parent = share.#parent
      if (parent !== undefined) parent.#level = Math.max(parent.#level, share.#passed)
      share.#passed += bytes
    }
  }

  /** The outermost limit decides, so that turns at it are equal. */
  get #turnBytes(): number {
    let bytesPerSecond = Number.POSITIVE_INFINITY
    for (let share: RateShare | undefined = this; share !== undefined; share = share.#parent) {
      if (!share.#limit.isUnlimited) bytesPerSecond = share.#limit.bytesPerSecond
    }
    const blocks = Math.max(1, Math.round((bytesPerSecond * TURN_MS) / 1000 / BLOCK_LENGTH))
    return Math.min(TURN_BYTES_AT_MOST, blocks * BLOCK_LENGTH)
  }

  #wait(now: number): void {
    let waitMs = 0
    for (let share: RateShare | undefined = this; share !== undefined; share = share.#parent) {
      waitMs = Math.max(waitMs, share.#limit.waitMs(now))
      const parent = share.#parent
      if (parent === undefined) break
      const arrears = TURNS_IN_ARREARS * this.#turnBytes
      share.#passed = Math.max(share.#passed, parent.#level - arrears)
      parent.#waiting ??= new Set()
      parent.#waiting.add(share)
    }
    this.#root.#runAt(now + waitMs)
  }

  #runAt(at: number): void {
    if (at >= this.#timerAt || at === Number.POSITIVE_INFINITY) return
    clearTimeout(this.#timer)
    this.#timerAt = at
    const ms = Math.max(TIMER_AT_LEAST_MS, at - performance.now())
    this.#timer = setTimeout(() => this.#run(), ms).unref()
  }

  /** Gives turns to those who wait, as far as the limits go. */
  #run(): void {
    this.#timerAt = Number.POSITIVE_INFINITY
    const now = performance.now()
    const granted: RateShare[] = []
    for (let next = this.#next(now); next !== undefined; next = this.#next(now)) {
      const bytes = next.#turnBytes
      next.#charge(bytes, now)
      next.#credit += bytes
      granted.push(next)
    }
    for (const share of granted) share.#wake?.()
    this.#runAt(now + this.#nextMs(now))
  }

  /** Whose turn it is. It waits no more. */
  #next(now: number): RateShare | undefined {
    if (this.#wake !== undefined) return this
    let least: RateShare | undefined
    for (const child of this.#waiting ?? []) {
      if (least !== undefined && least.#passed <= child.#passed) continue
      if (child.#nextMs(now) === 0) least = child
    }
    if (least === undefined || this.#limit.waitMs(now) > 0) return undefined
    const next = least.#next(now)
    if (least.#waiting === undefined || least.#waiting.size === 0) this.#waiting?.delete(least)
    return next
  }

  /** How long until somebody has its turn. */
  #nextMs(now: number): number {
    const own = this.#limit.waitMs(now)
    if (this.#wake !== undefined) return own
    let soonest = Number.POSITIVE_INFINITY
    for (const child of this.#waiting ?? []) soonest = Math.min(soonest, child.#nextMs(now))
    return Math.max(own, soonest)
  }
}
