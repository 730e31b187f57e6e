import type { ByteRange } from '../byte-source.ts'
import { Bitfield } from '../metainfo/bitfield.ts'
import type { Layout } from '../metainfo/layout.ts'

/**
 * Which bytes of a torrent were written: a bit for each whole piece, ranges for pieces in the making.
 * Padding counts as written from the start, for it is zeros by definition (BEP 47).
 */
export class WrittenBytes {
  readonly #layout: Layout
  readonly #present: Bitfield
  /** Of each piece in the making: sorted ranges in the torrent that do not touch each other. */
  readonly #partial = new Map<number, ByteRange[]>()

  /** Takes over `present`. */
  constructor(layout: Layout, present: Bitfield = new Bitfield(layout.pieceCount)) {
    this.#layout = layout
    this.#present = present
    this.#addPadding({ start: 0, end: layout.length })
  }

  /** Pieces of which every byte was written. Not a copy. */
  get present(): Bitfield {
    return this.#present
  }

  add(range: ByteRange): void {
    this.#eachPiece(range, (piece, part, whole) => {
      if (this.#present.has(piece)) return
      const ranges = part === whole ? [part] : this.#rangesOf(piece)
      if (part !== whole) insertRange(ranges, part)
      if (!covers(ranges, whole)) return
      this.#present.set(piece)
      this.#partial.delete(piece)
    })
  }

  has(range: ByteRange): boolean {
    if (range.start >= range.end) return true
    const pieces = this.#layout.piecesOf(range)
    for (let piece = pieces.start; piece < pieces.end; piece++) {
      if (this.#present.has(piece)) continue
      const part = intersect(range, this.#layout.pieceRange(piece))
      // A gap behind the last piece of a file (BEP 52).
      if (part.start >= part.end) continue
      const ranges = this.#partial.get(piece) ?? this.#paddingOf(piece)
      if (!covers(ranges, part)) return false
    }
    return true
  }

  /** Forgets all of one piece but its padding. */
  delete(piece: number): void {
    this.#present.clear(piece)
    this.#partial.delete(piece)
    this.#addPadding(this.#layout.pieceRange(piece))
  }

  #eachPiece(
    range: ByteRange,
    visit: (piece: number, part: ByteRange, whole: ByteRange) => void,
  ): void {
    if (range.start >= range.end) return
    const pieces = this.#layout.piecesOf(range)
    for (let piece = pieces.start; piece < pieces.end; piece++) {
      const whole = this.#layout.pieceRange(piece)
      const part = intersect(range, whole)
      if (part.start < part.end) visit(piece, part, whole)
    }
  }

  #rangesOf(piece: number): ByteRange[] {
    let ranges = this.#partial.get(piece)
    if (ranges === undefined) {
      ranges = this.#paddingOf(piece)
      this.#partial.set(piece, ranges)
    }
    return ranges
  }

  #paddingOf(piece: number): ByteRange[] {
    const ranges: ByteRange[] = []
    for (const span of this.#layout.filesOf(this.#layout.pieceRange(piece))) {
      if (span.file === -1) insertRange(ranges, span.range)
    }
    return ranges
  }

  /** Only a piece that is all padding is whole by it; the others find theirs when they are begun. */
  #addPadding(range: ByteRange): void {
    for (const span of this.#layout.filesOf(range)) {
      if (span.file !== -1) continue
      this.#eachPiece(span.range, (piece, part, whole) => {
        if (part === whole || covers(this.#paddingOf(piece), whole)) this.#present.set(piece)
      })
    }
  }
}

/** Answers `whole` itself where `range` holds all of it. */
function intersect(range: ByteRange, whole: ByteRange): ByteRange {
  if (range.start <= whole.start && range.end >= whole.end) return whole
  return { start: Math.max(range.start, whole.start), end: Math.min(range.end, whole.end) }
}

function covers(ranges: readonly ByteRange[], part: ByteRange): boolean {
  const range = ranges[firstEndingFrom(ranges, part.end)]
  return range !== undefined && range.start <= part.start
}

/** Keeps `ranges` sorted and joins what touches. */
function insertRange(ranges: ByteRange[], added: ByteRange): void {
  const from = firstEndingFrom(ranges, added.start)
  let to = from
  let { start, end } = added
  for (let next = ranges[to]; next !== undefined && next.start <= end; next = ranges[++to]) {
    start = Math.min(start, next.start)
    end = Math.max(end, next.end)
  }
  ranges.splice(from, to - from, { start, end })
}

/** The index of the first range whose end is `offset` or behind it. */
function firstEndingFrom(ranges: readonly ByteRange[], offset: number): number {
  let low = 0
  let high = ranges.length
  while (low < high) {
    const middle = (low + high) >> 1
    if ((ranges[middle]?.end ?? 0) < offset) low = middle + 1
    else high = middle
  }
  return low
}
