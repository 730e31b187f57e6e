import type { Limits } from '../limits.ts'

/** One peer of a simulated swarm. What is left out makes it an honest seed on a fast line. */
export interface SimulatedPeerOptions {
  /** @defaultValue 2_097_152 (2 MiB/s) */
  readonly bytesPerSecond?: number | undefined
  /** @defaultValue 10 */
  readonly roundTripMs?: number | undefined
  /** Every message is late by up to so much; their order stays. @defaultValue 0 */
  readonly jitterMs?: number | undefined
  /** Share of the requests to which no answer ever comes. @defaultValue 0 */
  readonly lossShare?: number | undefined
  /** The pieces it has at first, or what share of all (drawn from the seed). @defaultValue 1 */
  readonly pieces?: number | readonly number[] | undefined
  /** It gets one more piece that often, and says so. @defaultValue Infinity */
  readonly pieceEveryMs?: number | undefined
  /** @defaultValue 0 */
  readonly joinsAtMs?: number | undefined
  /** It leaves after about so long, from half to one and a half times. @defaultValue Infinity */
  readonly staysMs?: number | undefined
  /** It comes back after about so long. @defaultValue Infinity */
  readonly awayMs?: number | undefined
  /** From our interest to its unchoke. @defaultValue 0 */
  readonly unchokesAfterMs?: number | undefined
  /** It chokes after about so long. @defaultValue Infinity */
  readonly unchokedMs?: number | undefined
  /** It unchokes again after about so long. @defaultValue 1_000 */
  readonly chokedMs?: number | undefined
  /** Whether it answers what it will not send with rejects (BEP 6). @defaultValue true */
  readonly fast?: boolean | undefined
  /** Requests that it keeps; what is more is rejected. @defaultValue 500 */
  readonly requestQueue?: number | undefined
  /** Bytes that are on their way whatever is cancelled: socket buffers, for one. @defaultValue 65_536 */
  readonly sendBufferBytes?: number | undefined
  /**
   * `lies`: bytes are wrong. `hangs`: unchokes and never sends. `refuses`: unchokes and rejects
   * everything. @defaultValue 'honest'
   */
  readonly conduct?: 'honest' | 'lies' | 'hangs' | 'refuses' | undefined
  /** Share of its blocks that are wrong where it lies. @defaultValue 1 */
  readonly lieShare?: number | undefined
}

/** What a peer does where its options say nothing. */
export const peerDefaults = {
  bytesPerSecond: 2 * 1024 * 1024,
  roundTripMs: 10,
  requestQueue: 500,
  sendBufferBytes: 64 * 1024,
  chokedMs: 1000,
  fast: true,
} as const

/** A run of bytes that a reader reads in order. */
export interface SimulatedRead {
  /** Byte of the torrent. */
  readonly start: number
  /** Exclusive. @defaultValue the end of the torrent */
  readonly end?: number | undefined
  /**
   * When it begins, ending the read before it: a seek. Without it, it begins when the read before it
   * is over (the first one at once).
   */
  readonly atMs?: number | undefined
}

/** One consumer of bytes. */
export interface SimulatedReaderOptions {
  /** One after the other. */
  readonly reads: readonly SimulatedRead[]
  /** How fast it consumes. @defaultValue Infinity */
  readonly bytesPerSecond?: number | undefined
}

/** A swarm, and what is wanted of it. */
export interface SwarmScenario {
  /** The same seed makes the same run. */
  readonly seed: number
  /** @defaultValue 256 */
  readonly pieceCount?: number | undefined
  /** @defaultValue 1_048_576 (1 MiB) */
  readonly pieceLength?: number | undefined
  readonly peers: readonly SimulatedPeerOptions[]
  readonly readers?: readonly SimulatedReaderOptions[] | undefined
  /** Whether all pieces are wanted, also those that no reader waits for. @defaultValue false */
  readonly download?: boolean | undefined
  readonly limits?: Partial<Limits> | undefined
  /** From the last block of a piece to its verdict. @defaultValue 1 */
  readonly verifyMs?: number | undefined
  /** The run ends then, whatever is missing. @defaultValue 600_000 (10 minutes) */
  readonly endsAtMs?: number | undefined
  /** The run ends after so many events, whatever is missing. @defaultValue 5_000_000 */
  readonly eventsAtMost?: number | undefined
}
