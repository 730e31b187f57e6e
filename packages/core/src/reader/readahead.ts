export interface ReadaheadOptions {
  /** Bytes ahead of the reader at most. */
  readonly maxBytes: number
  readonly pieceLength: number
}

/**
 * How far ahead of a reader pieces are wanted: as much as was read without a jump, so that a look
 * here and there costs little and a long read never waits.
 */
export class Readahead {
  readonly #options: ReadaheadOptions
  #readBytes = 0

  constructor(options: ReadaheadOptions) {
    this.#options = options
  }

  /** Bytes ahead that are worth having now. */
  get bytes(): number {
    const { maxBytes, pieceLength } = this.#options
    // The piece being read and the one behind it are always wanted, or every piece would begin with a wait.
    const least = Math.max(FIRST_BYTES, 2 * pieceLength)
    return Math.max(Math.min(least, maxBytes), Math.min(maxBytes, least + 4 * this.#readBytes))
  }

  /** So many bytes more were read in a row. */
  read(bytes: number): void {
    this.#readBytes += bytes
  }
}

const FIRST_BYTES = 1024 * 1024
