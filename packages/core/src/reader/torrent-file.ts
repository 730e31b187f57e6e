import type { ByteRange, ByteSource, ReadOptions } from '../byte-source.ts'
import type { Metainfo, MetainfoFile } from '../metainfo/metainfo.ts'
import { type ReaderSource, readRange } from './reader.ts'

/** One file of a torrent, as bytes that can be read by range while they arrive. */
export class TorrentFile implements ByteSource {
  readonly index: number
  /** The true path, with the torrent's name first where it has many files. */
  readonly path: string
  readonly length: number
  /** Where the file begins in the torrent. */
  readonly offset: number
  /** Strong: a torrent's bytes never change (RFC 9110 §8.8.3). */
  readonly etag: string
  readonly #source: ReaderSource

  constructor(source: ReaderSource, metainfo: Metainfo, file: MetainfoFile) {
    this.#source = source
    this.index = file.index
    this.path = file.path.toString()
    this.length = file.length
    this.offset = file.offset
    this.etag = `"${metainfo.infoHash}-${file.index}"`
  }

  /** The last component of the path. */
  get name(): string {
    return this.path.slice(this.path.lastIndexOf('/') + 1)
  }

  /** Share of the file's bytes that can be read at once, 0 to 1. */
  get progress(): number {
    if (this.length === 0) return 1
    const { layout, available } = this.#source.transfer.store
    const end = this.offset + this.length
    const pieces = layout.piecesOf({ start: this.offset, end })
    let bytes = 0
    for (let piece = pieces.start; piece < pieces.end; piece++) {
      if (!available.has(piece)) continue
      const range = layout.pieceRange(piece)
      bytes += Math.min(range.end, end) - Math.max(range.start, this.offset)
    }
    return bytes / this.length
  }

  read(range: ByteRange, options?: ReadOptions): AsyncGenerator<Uint8Array, void, undefined> {
    return readRange(this.#source, this, range, options)
  }
}
