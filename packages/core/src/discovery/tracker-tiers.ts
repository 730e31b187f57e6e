import { IsthmusError } from '../errors.ts'

export interface Tracker {
  readonly url: URL
  /** The last error or warning, where the last announce had one. */
  message?: string | undefined
  state: 'idle' | 'announcing' | 'working' | 'failed'
  seeders?: number | undefined
  leechers?: number | undefined
  /** Peers in the last reply. */
  peers?: number | undefined
}

/** The order in which trackers are asked (BEP 12). Each URL is in one tier only. */
export class TrackerTiers {
  readonly #maxTrackers: number
  readonly #random: () => number
  readonly #tiers: Tracker[][] = []

  /** @param random - from 0 up to but not including 1 */
  constructor(maxTrackers: number, random: () => number) {
    this.#maxTrackers = maxTrackers
    this.#random = random
  }

  /** A copy, which later changes leave as it is. */
  get tiers(): readonly (readonly Tracker[])[] {
    return this.#tiers.map((tier) => [...tier])
  }

  /**
   * Appends a tier, shuffled. Left out are URLs that are there already, that exceed the limit, and
   * those that `refuse` hears of.
   *
   * @returns the trackers of the new tier
   */
  add(
    urls: readonly string[],
    refuse: (error: IsthmusError, url: string) => void,
  ): readonly Tracker[] {
    const known = new Set(this.#tiers.flat().map(({ url }) => url.href))
    const tier: Tracker[] = []
    for (const text of urls) {
      const url = URL.canParse(text) ? new URL(text) : undefined
      if (url === undefined || !announceSchemes.has(url.protocol)) {
        const problem = 'a tracker has an http, https or udp URL'
        refuse(new IsthmusError('ISTHMUS_URL_INVALID', problem), text)
      } else if (!known.has(url.href) && known.size < this.#maxTrackers) {
        known.add(url.href)
        tier.push({ url, state: 'idle' })
      }
    }
    this.#shuffle(tier)
    if (tier.length > 0) this.#tiers.push(tier)
    return [...tier]
  }

  /** A tracker that answered is asked first in its tier from now on. */
  promote(tracker: Tracker): void {
    const tier = this.#tiers.find((candidates) => candidates.includes(tracker))
    if (tier === undefined) return
    tier.splice(tier.indexOf(tracker), 1)
    tier.unshift(tracker)
  }

  #shuffle(tier: Tracker[]): void {
    for (let last = tier.length - 1; last > 0; last--) {
      const [chosen] = tier.splice(Math.floor(this.#random() * (last + 1)), 1)
      // What was chosen goes behind all that may still be chosen.
      if (chosen !== undefined) tier.splice(last, 0, chosen)
    }
  }
}

const announceSchemes: ReadonlySet<string> = new Set(['http:', 'https:', 'udp:'])
