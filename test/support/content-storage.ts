import {
  Bitfield,
  type ByteRange,
  type Metainfo,
  type PieceStorage,
  type Storage,
} from '@isthmus/core'

/** A torrent's bytes that somebody else holds in memory, and may change: for seeding in tests. */
export class ContentStorage implements Storage {
  /** Not a copy. */
  readonly content: Uint8Array

  constructor(content: Uint8Array) {
    this.content = content
  }

  async open({ layout }: Metainfo): Promise<PieceStorage> {
    const { content } = this
    const close = async () => {}
    return {
      trust: 'mutable',
      async state() {
        const { pieceCount } = layout
        return { present: Bitfield.full(pieceCount), verified: new Bitfield(pieceCount) }
      },
      async read({ start, end }: ByteRange, { into = new Uint8Array(end - start) } = {}) {
        into.set(content.subarray(start, end))
        return into
      },
      close,
      [Symbol.asyncDispose]: close,
    }
  }
}
