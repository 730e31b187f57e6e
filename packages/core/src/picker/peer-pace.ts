import { BLOCK_LENGTH } from '../metainfo/layout.ts'

/** How fast a peer has been of late, and how much it owes us. */
export interface Pace {
  /** Undefined before anything came of it. */
  readonly bytesPerSecond: number | undefined
  readonly roundTripMs: number
  /** Requests under way. */
  readonly outstanding: number
  /** It lets us ask, and answers: nothing waits for a peer that does not. @defaultValue true */
  readonly willing?: boolean | undefined
}

/** When one more block, asked for now, will be here: in how many ms. Undefined where nobody can tell. */
export function arrivalMs(pace: Pace, blocks = 1): number | undefined {
  if (pace.bytesPerSecond === undefined) return undefined
  const queued = (pace.outstanding + blocks) * BLOCK_LENGTH
  return pace.roundTripMs + (queued / pace.bytesPerSecond) * 1000
}

const SAMPLE_MS = 100
const SAMPLE_BYTES = 16 * BLOCK_LENGTH
/** Share of a new sample in the estimate. */
const WEIGHT = 0.4

/** Measures the rate of a peer while it has something to answer; pauses do not count against it. */
export class PeerPace {
  #bytesPerSecond: number | undefined
  #since = 0
  #bytes = 0
  #busy = false
  /** When it was first asked for something since it last sent anything. */
  #askedAt: number | undefined

  get bytesPerSecond(): number | undefined {
    return this.#bytesPerSecond
  }

  /** How long it has sent nothing although it was asked, in ms, also where that was taken back meanwhile. */
  silentMs(now: number): number {
    return this.#askedAt === undefined ? 0 : now - this.#askedAt
  }

  /** It was asked for something; `idle`: it owed us nothing before. */
  asked(now: number, idle: boolean): void {
    this.#askedAt ??= now
    if (!idle && this.#busy) return
    this.#busy = true
    this.#since = now
    this.#bytes = 0
  }

  /** A block came. */
  answered(bytes: number, now: number): void {
    this.#askedAt = undefined
    this.#bytes += bytes
    const ms = now - this.#since
    const first = this.#bytesPerSecond === undefined
    if (!first && ms < SAMPLE_MS && this.#bytes < SAMPLE_BYTES) return
    const sample = this.#bytes / Math.max(0.0005, ms / 1000)
    this.#bytesPerSecond = first
      ? sample
      : (this.#bytesPerSecond as number) * (1 - WEIGHT) + sample * WEIGHT
    this.#since = now
    this.#bytes = 0
  }
}
