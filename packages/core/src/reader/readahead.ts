/**
 * How far ahead of a reader pieces are wanted: as much as was read without a jump, so that a look
 * here and there costs little and a long read never waits.
 */
export class Readahead {
  /** The piece being read and the one behind it are always wanted, or every piece would begin with a wait. */
  readonly #leastBytes: number
  #readBytes = 0

  constructor(pieceLength: number) {
    this.#leastBytes = Math.max(FIRST_BYTES, 2 * pieceLength)
  }

  /** Bytes ahead that are worth having now, where there is room for `maxBytes`; at least one. */
  bytes(maxBytes: number): number {
    const worthwhile = this.#leastBytes + 4 * this.#readBytes
    return Math.max(1, Math.floor(Math.min(maxBytes, worthwhile)))
  }

  /** So many bytes more were read in a row. */
  read(bytes: number): void {
    this.#readBytes += bytes
  }
}

const FIRST_BYTES = 1024 * 1024
