import type { Layout, Metainfo, PieceStorage, Storage, StorageOpenOptions } from '@isthmus/core'
import { Bitfield, IsthmusError, WorkGate, WrittenBytes } from '@isthmus/core'

/** Keeps torrents in a `Map`, where the next client finds them: yours may be a database. */
export class MapStorage implements Storage {
  readonly #torrents = new Map<string, (gate: WorkGate) => PieceStorage>()

  async open({ infoHash, layout }: Metainfo, { namespace = '', signal }: StorageOpenOptions = {}) {
    signal?.throwIfAborted()
    const key = `${infoHash} ${namespace}`
    const open = this.#torrents.get(key) ?? keep(layout)
    this.#torrents.set(key, open)
    return open(new WorkGate()) // which lets nothing in once it is closed
  }
}

function keep(layout: Layout): (gate: WorkGate) => PieceStorage {
  const [bytes, written] = [new Uint8Array(layout.length), new WrittenBytes(layout)]
  const verified = new Bitfield(layout.pieceCount)
  const state = async () => ({ present: written.present.copy(), verified: verified.copy() })
  const read = async ({ start, end }: { start: number; end: number }, into?: Uint8Array) => {
    if (!written.has({ start, end })) throw new IsthmusError('ISTHMUS_PIECE_MISSING', 'not here')
    const found = into ?? new Uint8Array(end - start)
    found.set(bytes.subarray(start, end))
    return found
  }
  const write = async (start: number, part: Uint8Array) => {
    bytes.set(part, start)
    written.add({ start, end: start + part.length })
    const pieces = layout.piecesOf({ start, end: start + part.length })
    for (let piece = pieces.start; piece < pieces.end; piece++) verified.clear(piece)
  }
  return (gate) => ({
    trust: 'owned',
    state: (options = {}) => gate.enter(options, state),
    read: (span, options = {}) => gate.enter(options, () => read(span, options.into)),
    write: (offset, part, options = {}) => gate.enter(options, () => write(offset, part)),
    commit: (piece, options = {}) => gate.enter(options, async () => void verified.set(piece)),
    close: () => gate.close(),
    [Symbol.asyncDispose]: () => gate.close(),
  })
}
