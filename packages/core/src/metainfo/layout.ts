import { assertRange, type ByteRange } from '../byte-source.ts'

/** The unit of a request: 16 KiB (BEP 3). The last block of a piece may be shorter. */
export const BLOCK_LENGTH = 16_384

/** A run of bytes that lies within one file. */
export interface FileSpan {
  /** Index in `Metainfo.files`, -1 for padding and gaps, whose bytes are zeros. */
  readonly file: number
  /** Bytes in the file (for padding: from the start of the padding). */
  readonly fileRange: ByteRange
  /** The same bytes in the torrent. */
  readonly range: ByteRange
}

/** One file in the order of the info dictionary. */
export interface LayoutFile {
  readonly length: number
  /** Takes up its place, but has no index (BEP 47). @defaultValue false */
  readonly padding?: boolean | undefined
}

export interface LayoutOptions {
  readonly pieceLength: number
  readonly files: readonly LayoutFile[]
  /**
   * Starts each file that is not empty at a piece boundary, and ends the last piece of a file with
   * the file (BEP 52). Without it files touch and pieces span them (BEP 3).
   *
   * @defaultValue false
   */
  readonly align?: boolean | undefined
}

/**
 * Where pieces, blocks and files lie among the bytes of a torrent. Arithmetic only; holds a few
 * numbers per file and nothing per piece. An index or offset outside the torrent is a `RangeError`.
 */
export class Layout {
  /** The offset behind the last byte, padding and gaps included. */
  readonly length: number
  readonly pieceLength: number
  readonly pieceCount: number
  readonly #align: boolean
  /** Spans touch: each one ends where the next starts. Empty files have none. */
  readonly #starts: Float64Array
  readonly #spanFiles: Int32Array
  readonly #fileOffsets: Float64Array

  constructor(options: LayoutOptions) {
    const { pieceLength, files, align = false } = options
    if (!Number.isSafeInteger(pieceLength) || pieceLength < 1) {
      throw new RangeError(`a piece length of ${pieceLength} is impossible`)
    }
    const starts: number[] = []
    const spanFiles: number[] = []
    const fileOffsets: number[] = []
    let offset = 0
    for (const { length, padding = false } of files) {
      const rest = offset % pieceLength
      if (align && length > 0 && rest > 0) {
        starts.push(offset)
        spanFiles.push(-1)
        offset += pieceLength - rest
      }
      if (length > 0) {
        starts.push(offset)
        spanFiles.push(padding ? -1 : fileOffsets.length)
      }
      if (!padding) fileOffsets.push(offset)
      offset += length
      if (!Number.isSafeInteger(offset) || length < 0) {
        throw new RangeError(`the lengths of the files add up to an impossible ${offset}`)
      }
    }
    this.length = offset
    this.pieceLength = pieceLength
    this.pieceCount = Math.ceil(offset / pieceLength)
    this.#align = align
    this.#starts = Float64Array.from(starts)
    this.#spanFiles = Int32Array.from(spanFiles)
    this.#fileOffsets = Float64Array.from(fileOffsets)
  }

  /** Whether some of the bytes are padding or gaps, always zeros. */
  get hasPadding(): boolean {
    return this.#spanFiles.includes(-1)
  }

  /** Where the file starts. An empty file lies where the one before it ends. */
  fileOffset(file: number): number {
    const offset = this.#fileOffsets[file]
    if (offset === undefined) throw new RangeError(`there is no file ${file}`)
    return offset
  }

  /** The bytes of a piece. In an aligned layout the last piece of a file ends with the file. */
  pieceRange(index: number): ByteRange {
    if (!Number.isInteger(index) || index < 0 || index >= this.pieceCount) {
      throw new RangeError(`there is no piece ${index} among ${this.pieceCount}`)
    }
    const start = index * this.pieceLength
    const limit = this.#align ? this.#spanEnd(this.#spanAt(start)) : this.length
    return { start, end: Math.min(start + this.pieceLength, limit) }
  }

  pieceSize(index: number): number {
    // Asked for every block that comes: all pieces but the last are alike where files touch.
    const alike = !this.#align && Number.isInteger(index) && index >= 0
    if (alike && index < this.pieceCount - 1) return this.pieceLength
    const { start, end } = this.pieceRange(index)
    return end - start
  }

  blockCount(index: number): number {
    return Math.ceil(this.pieceSize(index) / BLOCK_LENGTH)
  }

  blockSize(index: number, block: number): number {
    const size = this.pieceSize(index)
    if (!Number.isInteger(block) || block < 0 || block * BLOCK_LENGTH >= size) {
      throw new RangeError(`there is no block ${block} in piece ${index}`)
    }
    return Math.min(BLOCK_LENGTH, size - block * BLOCK_LENGTH)
  }

  /** The piece that `offset` lies in; in a gap, the piece before the gap. */
  pieceAt(offset: number): number {
    if (!Number.isSafeInteger(offset) || offset < 0 || offset >= this.length) {
      throw new RangeError(`byte ${offset} does not lie within ${this.length}`)
    }
    return Math.floor(offset / this.pieceLength)
  }

  /** Indices of the pieces that the bytes of `range` lie in, half-open; empty for an empty range. */
  piecesOf(range: ByteRange): ByteRange {
    assertRange(range, this.length)
    const start = Math.floor(range.start / this.pieceLength)
    if (range.start === range.end) return { start, end: start }
    return { start, end: Math.floor((range.end - 1) / this.pieceLength) + 1 }
  }

  /** The files that `range` lies in, in order and without holes; empty files are left out. */
  filesOf(range: ByteRange): FileSpan[] {
    assertRange(range, this.length)
    const spans: FileSpan[] = []
    if (range.start === range.end) return spans
    for (let index = this.#spanAt(range.start); index < this.#starts.length; index++) {
      const spanStart = this.#starts[index] ?? 0
      if (spanStart >= range.end) break
      const start = Math.max(spanStart, range.start)
      const end = Math.min(this.#spanEnd(index), range.end)
      spans.push({
        file: this.#spanFiles[index] ?? -1,
        fileRange: { start: start - spanStart, end: end - spanStart },
        range: { start, end },
      })
    }
    return spans
  }

  #spanEnd(index: number): number {
    return this.#starts[index + 1] ?? this.length
  }

  /** The last span that starts at or before `offset`. */
  #spanAt(offset: number): number {
    let low = 0
    let high = this.#starts.length - 1
    while (low < high) {
      const middle = (low + high + 1) >>> 1
      if ((this.#starts[middle] ?? 0) <= offset) low = middle
      else high = middle - 1
    }
    return low
  }
}
