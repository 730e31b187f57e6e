import { LRUCache } from 'lru-cache'

/** Lets `perSecond` through, and five times as many at once after a pause. */
export class TokenBucket {
  readonly #perSecond: number
  readonly #burst: number
  readonly #now: () => number
  #tokens: number
  #at: number

  /** @param now - a clock in ms */
  constructor(perSecond: number, now: () => number) {
    this.#perSecond = perSecond
    this.#burst = Math.max(1, perSecond * 5)
    this.#now = now
    this.#tokens = this.#burst
    this.#at = now()
  }

  /** Whether one more may pass now; it counts where it may. */
  take(): boolean {
    const now = this.#now()
    const gained = (Math.max(0, now - this.#at) * this.#perSecond) / 1000
    this.#tokens = Math.min(this.#burst, this.#tokens + gained)
    this.#at = now
    if (this.#tokens < 1) return false
    this.#tokens--
    return true
  }
}

export interface PacketRatesOptions {
  /** Of one source: an IPv4 /24 or an IPv6 /64, which one party may well have all of. */
  readonly sourcePerSecond: number
  /** Of all sources. */
  readonly totalPerSecond: number
  /** A clock in ms. */
  readonly now: () => number
}

const MAX_SOURCES = 4096

/** Which datagrams are looked at: the rest costs nothing but its reception. */
export class PacketRates {
  readonly #options: PacketRatesOptions
  readonly #total: TokenBucket
  readonly #sources = new LRUCache<string, TokenBucket>({ max: MAX_SOURCES })

  constructor(options: PacketRatesOptions) {
    this.#options = options
    this.#total = new TokenBucket(options.totalPerSecond, options.now)
  }

  /**
   * @param host - an IP literal as a socket tells it
   * @param expected - it was asked something, so a flood from elsewhere must not keep it out
   */
  admits(host: string, expected = false): boolean {
    return this.#source(host).take() && (expected || this.#total.take())
  }

  #source(host: string): TokenBucket {
    const key = networkOf(host)
    const { sourcePerSecond, now } = this.#options
    const bucket = this.#sources.get(key) ?? new TokenBucket(sourcePerSecond, now)
    this.#sources.set(key, bucket)
    return bucket
  }
}

function networkOf(host: string): string {
  if (!host.includes(':')) return host.slice(0, host.lastIndexOf('.'))
  return host.split(':', 4).join(':')
}
