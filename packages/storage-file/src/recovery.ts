import { Bitfield, IsthmusError, type Metainfo } from '@isthmus/core'
import type { Placement } from './placement.ts'
import type { FileMark, TorrentState } from './torrent-state.ts'

/** What is there when a torrent is opened. */
export interface Recovered {
  readonly present: Bitfield
  readonly verified: Bitfield
  /** By index of the file; undefined where there is none. */
  readonly marks: (FileMark | undefined)[]
}

/** Looks at the files. Rejects with `ISTHMUS_PATH_UNSAFE` where one is a link, or no file at all. */
export async function markFiles(
  placement: Placement,
  signal: AbortSignal | undefined,
): Promise<(FileMark | undefined)[]> {
  const { root, paths } = placement
  const found = await root.statAll(paths, { signal })
  return found.map((stats, index) => {
    if (stats === undefined) return undefined
    if (stats instanceof IsthmusError) throw stats
    if (!stats.isFile()) {
      const name = paths[index]?.join('/')
      throw new IsthmusError('ISTHMUS_PATH_UNSAFE', `${name} is no regular file`)
    }
    return { size: stats.size, mtimeMs: stats.mtimeMs, ino: stats.ino }
  })
}

/**
 * What can be relied on. Verified: what was verified at the last sync, in files that nobody touched
 * since. Present: what was, in files that nobody touched after a clean stop; in others every piece
 * that lies within them, for only a check can tell which of those bytes were written.
 */
export function recover(
  metainfo: Metainfo,
  marks: (FileMark | undefined)[],
  saved: TorrentState | undefined,
): Recovered {
  const { layout, files } = metainfo
  const touched = files.map(({ index }) => !isUntouched(marks[index], saved?.marks[index]))
  const present = saved?.present.copy() ?? new Bitfield(layout.pieceCount)
  const verified = saved?.verified.copy() ?? new Bitfield(layout.pieceCount)

  const isThere = (piece: number) =>
    layout.filesOf(layout.pieceRange(piece)).every(({ file, fileRange }) => {
      if (file === -1) return true
      if (saved?.clean === true && touched[file] === false) return saved.present.has(piece)
      return (marks[file]?.size ?? 0) >= fileRange.end
    })

  for (const { index, offset, length } of files) {
    if (touched[index] === false && saved?.clean === true) continue
    const pieces = layout.piecesOf({ start: offset, end: offset + length })
    for (let piece = pieces.start; piece < pieces.end; piece++) {
      if (touched[index] === true) verified.clear(piece)
      if (isThere(piece)) present.set(piece)
      else present.clear(piece)
    }
  }
  for (let piece = 0; piece < layout.pieceCount; piece++) {
    if (!present.has(piece)) verified.clear(piece)
  }
  return { present, verified, marks }
}

function isUntouched(now: FileMark | undefined, then: FileMark | undefined): boolean {
  if (now === undefined || then === undefined) return false
  return now.size === then.size && now.mtimeMs === then.mtimeMs && now.ino === then.ino
}
