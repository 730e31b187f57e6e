import { IsthmusError } from '../errors.ts'
import { type AbortOptions, abortable } from '../signal.ts'
import { type AnnounceReply, DEFAULT_NUM_WANT } from './announce.ts'
import type { AnnounceEvent, AnnounceOptions, PeerAddress, TransferTotals } from './discovery.ts'
import type { Schedule } from './schedule.ts'
import type { Tracker, TrackerTiers } from './tracker-tiers.ts'

export interface Tell extends AbortOptions {
  readonly event: AnnounceEvent
  readonly totals: TransferTotals
  readonly numWant: number
  readonly trackerId: string | undefined
  readonly timeoutMs: number | undefined
}

/** What the announces of one torrent need from around them. */
export interface TrackerSessionOptions {
  readonly tiers: TrackerTiers
  readonly schedule: Schedule
  /** One announce to one tracker. */
  readonly tell: (tracker: Tracker, tell: Tell) => Promise<AnnounceReply>
  readonly totals: () => TransferTotals
  readonly onPeers: (peers: readonly PeerAddress[]) => void
  readonly onWarning: (error: IsthmusError, tracker: string) => void
  readonly stoppedTimeoutMs: number
}

const FIRST_RETRY_MS = 15_000
const MAX_RETRY_MS = 30 * 60_000

/** The announces of one torrent, one round over the tiers after the other (BEP 12). */
export class TrackerSession {
  readonly #options: TrackerSessionOptions
  /** The trackers that took us, with what they called themselves. */
  readonly #joined = new Map<Tracker, string | undefined>()
  #active = false
  #completed: 'no' | 'due' | 'told' = 'no'
  #failures = 0
  #pending = 0
  #asking: Tracker | undefined
  #cancelNext: (() => void) | undefined
  #controller = new AbortController()
  #tail: Promise<void> = Promise.resolve()

  constructor(options: TrackerSessionOptions) {
    this.#options = options
  }

  /** Regular announces go on, or an announce is under way. */
  get isActive(): boolean {
    return this.#active || this.#pending > 0
  }

  async announce(event: AnnounceEvent, { totals, signal }: AnnounceOptions): Promise<void> {
    signal?.throwIfAborted()
    if (event === 'stopped') return this.#stop(totals, signal)
    if (event === 'started') this.#active = true
    if (event === 'completed' && this.#completed === 'no') this.#completed = 'due'
    return abortable(
      this.#enqueue((stop) => this.#round(event, totals, stop)),
      signal,
    )
  }

  /** A tier was added: its trackers hear of us now, not only when the tiers before it fail. */
  announceToAdded(tier: readonly Tracker[]): void {
    if (!this.#active || tier.length === 0) return
    this.#enqueue(async (stop) => {
      // The round before this one may have come as far as the new tier.
      if (tier.some((tracker) => this.#joined.has(tracker))) return
      const waiting = this.#cancelNext !== undefined && this.#failures === 0
      try {
        const reply = await this.#askTiers([tier], 'update', this.#options.totals(), stop)
        if (!waiting) this.#succeeded(reply)
      } catch (error) {
        if (!waiting && !stop.aborted) this.#failed()
        throw error
      }
      // What failed was told as a warning.
    }).catch(() => {})
  }

  async #round(event: AnnounceEvent, totals: TransferTotals, stop: AbortSignal): Promise<void> {
    if (event === 'completed' && this.#completed === 'told') return
    const { tiers } = this.#options.tiers
    if (tiers.length === 0) {
      throw new IsthmusError('ISTHMUS_DISCOVERY_FAILED', 'there is no tracker to announce to')
    }
    try {
      this.#succeeded(await this.#askTiers(tiers, event, totals, stop))
      if (event === 'completed') this.#completed = 'told'
    } catch (error) {
      if (!stop.aborted) this.#failed()
      throw error
    }
  }

  async #askTiers(
    tiers: readonly (readonly Tracker[])[],
    event: AnnounceEvent,
    totals: TransferTotals,
    stop: AbortSignal,
  ): Promise<AnnounceReply> {
    let cause: unknown
    for (const tracker of tiers.flat()) {
      stop.throwIfAborted()
      try {
        const reply = await this.#ask(tracker, event, totals, stop)
        this.#options.tiers.promote(tracker)
        this.#options.onPeers(reply.peers)
        return reply
      } catch (error) {
        stop.throwIfAborted()
        if (!(error instanceof IsthmusError)) throw error
        this.#options.onWarning(error, tracker.url.href)
        cause = error
      }
    }
    const problem = 'no tracker took the announce'
    throw new IsthmusError('ISTHMUS_TRACKER_FAILED', problem, { cause })
  }

  async #ask(
    tracker: Tracker,
    event: AnnounceEvent,
    totals: TransferTotals,
    signal: AbortSignal,
  ): Promise<AnnounceReply> {
    this.#asking = tracker
    tracker.state = 'announcing'
    try {
      const reply = await this.#options.tell(tracker, {
        // BEP 3: the first announce that a tracker hears is `started`.
        event: event === 'update' && !this.#joined.has(tracker) ? 'started' : event,
        totals,
        numWant: DEFAULT_NUM_WANT,
        trackerId: this.#joined.get(tracker),
        timeoutMs: undefined,
        signal,
      })
      this.#joined.set(tracker, reply.trackerId ?? this.#joined.get(tracker))
      this.#note(tracker, reply)
      return reply
    } catch (error) {
      tracker.state = 'failed'
      tracker.message = error instanceof Error ? error.message : undefined
      throw error
    } finally {
      // A round that was stopped leaves the tracker that may have heard of us.
      if (!signal.aborted) this.#asking = undefined
    }
  }

  #note(tracker: Tracker, { seeders, leechers, peers, warning }: AnnounceReply): void {
    Object.assign(tracker, { state: 'working', seeders, leechers, peers: peers.length })
    tracker.message = warning
    if (warning === undefined) return
    const text = `the tracker ${tracker.url.host} warns: ${warning}`
    this.#options.onWarning(new IsthmusError('ISTHMUS_TRACKER_FAILED', text), tracker.url.href)
  }

  #succeeded(reply: AnnounceReply): void {
    this.#failures = 0
    this.#announceIn(reply.intervalMs)
  }

  #failed(): void {
    const delayMs = Math.min(FIRST_RETRY_MS * 2 ** this.#failures, MAX_RETRY_MS)
    this.#failures++
    this.#announceIn(delayMs)
  }

  #announceIn(delayMs: number): void {
    this.#cancelNext?.()
    this.#cancelNext = undefined
    if (!this.#active) return
    this.#cancelNext = this.#options.schedule(() => {
      this.#cancelNext = undefined
      const event = this.#completed === 'due' ? 'completed' : 'update'
      // What fails was told as a warning, and is tried again.
      this.#enqueue((stop) => this.#round(event, this.#options.totals(), stop)).catch(() => {})
    }, delayMs)
  }

  /** Gives up what is under way, and says good-bye to every tracker that may know us. */
  #stop(totals: TransferTotals, signal: AbortSignal | undefined): Promise<void> {
    this.#active = false
    this.#cancelNext?.()
    this.#cancelNext = undefined
    this.#failures = 0
    const stopped = new IsthmusError('ISTHMUS_DISCOVERY_FAILED', 'announcing was stopped')
    this.#controller.abort(stopped)
    this.#controller = new AbortController()
    return abortable(
      this.#enqueue(async () => {
        const trackers = new Map(this.#joined)
        if (this.#asking !== undefined) trackers.set(this.#asking, this.#joined.get(this.#asking))
        this.#asking = undefined
        this.#joined.clear()
        await this.#sayGoodbye(trackers, totals)
      }),
      signal,
    )
  }

  async #sayGoodbye(
    trackers: ReadonlyMap<Tracker, string | undefined>,
    totals: TransferTotals,
  ): Promise<void> {
    const { tell, stoppedTimeoutMs: timeoutMs } = this.#options
    const told = await Promise.allSettled(
      Array.from(trackers, async ([tracker, trackerId]) => {
        await tell(tracker, { event: 'stopped', totals, numWant: 0, trackerId, timeoutMs })
        tracker.state = 'idle'
      }),
    )
    const failures = told.filter((outcome) => outcome.status === 'rejected')
    if (failures.length === 0 || failures.length < told.length) return
    const cause: unknown = failures[0]?.reason
    const problem = 'no tracker took the announce'
    throw new IsthmusError('ISTHMUS_TRACKER_FAILED', problem, { cause })
  }

  /** Announces of one torrent follow one another; `stop` aborts for those before a `stopped`. */
  #enqueue(work: (stop: AbortSignal) => Promise<void>): Promise<void> {
    const { signal } = this.#controller
    this.#pending++
    const result = this.#tail.then(async () => {
      try {
        signal.throwIfAborted()
        await work(signal)
      } finally {
        this.#pending--
      }
    })
    this.#tail = result.catch(() => {})
    return result
  }
}
