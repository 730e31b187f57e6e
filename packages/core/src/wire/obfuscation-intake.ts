import { protocolError } from './frames.ts'
import { type ConnectionKind, connectionKind } from './obfuscation-policy.ts'

/** A computation that stops wherever bytes are missing, and goes on once more have come. */
export type Reading<T> = Generator<undefined, T, undefined>

/** The first bytes of a connection, kept while its obfuscated handshake is read. */
export class ObfuscationIntake {
  readonly #bytes: Buffer
  #filled = 0
  #at = 0

  /** @param capacity bytes of the longest handshake: more are not kept */
  constructor(capacity: number) {
    this.#bytes = Buffer.alloc(capacity)
  }

  /** Bytes that were kept. */
  get filled(): number {
    return this.#filled
  }

  /** How many of them were read. */
  get at(): number {
    return this.#at
  }

  /** Copies what there is room for. */
  push(chunk: Uint8Array): void {
    const fitting = chunk.subarray(0, this.#bytes.length - this.#filled)
    this.#bytes.set(fitting, this.#filled)
    this.#filled += fitting.length
  }

  /** The bytes that were kept but not read, up to `end`. */
  unread(end: number): Uint8Array {
    return this.#bytes.subarray(this.#at, end)
  }

  /** What the connection is; reads nothing. */
  *kind(): Reading<ConnectionKind> {
    for (;;) {
      const kind = this.#filled > 0 ? connectionKind(this.unread(this.#filled)) : undefined
      if (kind !== undefined) return kind
      yield
    }
  }

  /** The next `length` bytes, for the caller to change. */
  *take(length: number): Reading<Uint8Array> {
    while (this.#filled - this.#at < length) yield
    const start = this.#at
    this.#at += length
    return this.#bytes.subarray(start, this.#at)
  }

  /** Reads up to the end of `mark`, which begins after `distance` bytes at most. */
  *skipPast(mark: Uint8Array, distance: number): Reading<void> {
    const end = this.#at + distance + mark.length
    let from = this.#at
    for (;;) {
      const window = this.#bytes.subarray(0, Math.min(this.#filled, end))
      const found = window.indexOf(mark, from)
      if (found >= 0) {
        this.#at = found + mark.length
        return
      }
      if (window.length === end) throw protocolError('padding without an end')
      // What was searched once is not searched again.
      from = Math.max(from, window.length - mark.length + 1)
      yield
    }
  }
}
