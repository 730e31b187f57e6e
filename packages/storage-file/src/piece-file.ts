import type { PieceFolder } from './piece-folder.ts'
import type { FileMark } from './torrent-state.ts'

/** One piece on disk. The object stands for this very file: one that replaces it is another. */
export interface PieceFile {
  readonly name: string
  readonly folder: PieceFolder
  /** As we left it; a file that looks different now is not served. */
  readonly mark: FileMark
  /** Who sees it now. Taken along by the file that replaces this one. */
  readonly holders: Set<PieceHolder>
  /** Committed, on the medium, and the index says so. */
  synced: boolean
  /** Only ever grows with use, over restarts too; about the time in ms. */
  lastUsed: number
}

/** A piece of an open torrent whose bytes are those of a file. */
export interface PieceHolder {
  readonly piece: number
  file: PieceFile
  /** Written by this torrent: whoever drives it holds a place for the piece, and decides when it goes. */
  hasPlace: boolean
  /** Where the piece stands among what will be read soon, the most urgent 0; undefined where it does not. */
  urgency(): number | undefined
  /** The file is gone. */
  lost(): void
}

/** Whether somebody holds a place for the piece, so that it is not ours to throw out. */
export function hasPlace({ holders }: PieceFile): boolean {
  for (const holder of holders) if (holder.hasPlace) return true
  return false
}

/** How soon the piece is read, the smaller the sooner; undefined where nobody said that it will be. */
export function urgencyOf({ holders }: PieceFile): number | undefined {
  let soonest: number | undefined
  for (const holder of holders) {
    const urgency = holder.urgency()
    if (urgency !== undefined) soonest = Math.min(soonest ?? urgency, urgency)
  }
  return soonest
}
