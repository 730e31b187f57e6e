import type { AbortOptions } from './signal.ts'

/** Bytes `start` up to but not including `end`. */
export interface ByteRange {
  readonly start: number
  readonly end: number
}

/**
 * What the bytes are for. `play` asks for low latency and reads ahead; `prefetch` yields to every
 * `play`; `bulk` wants throughput alone.
 */
export type ReadPurpose = 'play' | 'prefetch' | 'bulk'

export interface ReadOptions extends AbortOptions {
  /** @defaultValue 'play' */
  readonly purpose?: ReadPurpose | undefined
  /**
   * Where chunks are put: asked for exactly so many bytes, at most 128 KiB, each time. For consumers
   * that use their memory again; a source may do without. @defaultValue fresh memory
   */
  readonly allocate?: ((bytes: number) => Uint8Array) | undefined
}

/** Bytes of a known length that can be read by range. */
export interface ByteSource {
  /** Bytes in all. */
  readonly length: number
  /** A strong validator (RFC 9110 §8.8.3, with its quotes), when the source can promise one. */
  readonly etag?: string | undefined
  /**
   * Yields exactly the range, in order, in chunks of at most 128 KiB, and at least 64 KiB wherever
   * that much of the range is left and verified. A chunk is the consumer's for ever and pins no more
   * memory than itself. Leaving the loop early gives up all that was asked for.
   *
   * @throws RangeError, on the first step, where the range does not lie within `length`.
   */
  read(range: ByteRange, options?: ReadOptions): AsyncIterable<Uint8Array>
}

/** What a link eats and makes: like a {@link ByteSource}, but the length may be unknown and ranges impossible. */
export interface Resource extends AsyncDisposable {
  readonly length?: number | undefined
  readonly etag?: string | undefined
  /** Media type, where the maker knows it. */
  readonly type?: string | undefined
  /** Whether `read` takes a range. */
  readonly ranges: boolean
  read(range?: ByteRange, options?: AbortOptions): AsyncIterable<Uint8Array>
  /** For consumers that are done with a chunk of `read`: its memory may be filled again. */
  recycle?(chunk: Uint8Array): void
}

/** @throws RangeError unless `range` lies within `length` and is not reversed. */
export function assertRange(range: ByteRange, length: number): void {
  const { start, end } = range
  if (
    !Number.isSafeInteger(start) ||
    !Number.isSafeInteger(end) ||
    start < 0 ||
    end < start ||
    end > length
  ) {
    throw new RangeError(`bytes ${start} to ${end} do not lie within ${length}`)
  }
}
