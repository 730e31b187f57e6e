import { assertRange, type ByteRange, type ReadOptions } from '../byte-source.ts'
import { isIsthmusError } from '../errors.ts'
import type { Limits } from '../limits.ts'
import type { Transfer } from '../swarm/transfer.ts'
import type { PieceArrivals } from './piece-arrivals.ts'
import { Readahead } from './readahead.ts'

/** Longest chunk that a reader yields. */
export const CHUNK_BYTES = 128 * 1024

/** Where a reader gets its pieces from. */
export interface ReaderSource {
  readonly transfer: Transfer
  readonly arrivals: PieceArrivals
  readonly limits: Limits
  /** A reader begins; the answer is called when it ends. */
  track(): () => void
  /** How many readers share the storage. */
  readerCount(): number
}

/** A run of the torrent that a reader keeps to: a file, say. */
export interface ReaderExtent {
  readonly offset: number
  readonly length: number
}

/**
 * Yields `range` of the extent as {@link ByteSource.read} promises: what is not here yet is fetched,
 * nearest first, and read ahead of. Rejects with `ISTHMUS_SWARM_POISONED` where peers send nothing but
 * wrong bytes for it.
 */
export async function* readRange(
  source: ReaderSource,
  extent: ReaderExtent,
  range: ByteRange,
  { signal, allocate }: ReadOptions = {},
): AsyncGenerator<Uint8Array, void, undefined> {
  assertRange(range, extent.length)
  const { transfer } = source
  const { layout } = transfer.store
  const reader = {}
  const untrack = source.track()
  const readahead = new Readahead(layout.pieceLength)
  const end = extent.offset + range.end
  let at = extent.offset + range.start
  try {
    while (at < end) {
      signal?.throwIfAborted()
      const ahead = Math.min(end, at + readahead.bytes(readaheadOf(source)))
      transfer.setWindow(reader, layout.piecesOf({ start: at, end: ahead }))
      await source.arrivals.available(layout.pieceAt(at), transfer, signal)
      const chunk = await readChunk(transfer, { start: at, end }, { signal, allocate })
      if (chunk === undefined) continue
      at += chunk.length
      readahead.read(chunk.length)
      yield chunk
    }
  } finally {
    transfer.removeWindow(reader)
    untrack()
  }
}

/** As much as is verified from `at` on, up to a chunk; undefined where a piece was lost meanwhile. */
async function readChunk(
  transfer: Transfer,
  { start: at, end }: ByteRange,
  { signal, allocate }: ReadOptions,
): Promise<Uint8Array | undefined> {
  const { layout, available } = transfer.store
  const most = Math.min(end, at + CHUNK_BYTES)
  let stop = at
  for (let piece = layout.pieceAt(at); stop < most && available.has(piece); piece++) {
    stop = Math.min(most, layout.pieceRange(piece).end)
  }
  if (stop === at) return undefined
  try {
    return await transfer.store.read(
      { start: at, end: stop },
      { signal, into: allocate?.(stop - at) },
    )
  } catch (error) {
    if (isIsthmusError(error, 'ISTHMUS_PIECE_MISSING')) return undefined
    throw error
  }
}

/** Readers of one storage share half of what it may hold; the other half is what they leave behind. */
function readaheadOf(source: ReaderSource): number {
  const { transfer, limits } = source
  const share = transfer.store.capacityBytes / 2 / Math.max(1, source.readerCount())
  return Math.min(limits.readaheadBytes, limits.memoryBytes, share)
}
