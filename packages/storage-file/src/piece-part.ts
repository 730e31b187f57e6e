import { constants, ftruncate } from 'node:fs'
import { promisify } from 'node:util'
import {
  type ByteRange,
  isErrno,
  type Layout,
  readFully,
  storageError,
  writeFully,
} from '@isthmus/core'
import { fstatOf } from './own-file.ts'
import { markOf, type PieceFolder } from './piece-folder.ts'
import { partName, shardOf } from './piece-name.ts'
import type { FileMark } from './torrent-state.ts'

const truncateOf = promisify(ftruncate)

/** Numbers of parts are used once in a process: those of an earlier one were cleaned up. */
let parts = 0

/** A piece in the making: a file beside the pieces, one torrent's alone. */
export class PiecePart {
  readonly name: string
  readonly #folder: PieceFolder
  readonly #components: readonly string[]
  readonly #size: number
  #isThere = true

  private constructor(folder: PieceFolder, pieceName: string, size: number) {
    this.#folder = folder
    this.name = partName(pieceName, ++parts)
    this.#components = [shardOf(pieceName), this.name]
    this.#size = size
  }

  /** Makes room, and then the file, as long as the piece and all zeros. */
  static async make(folder: PieceFolder, pieceName: string, size: number): Promise<PiecePart> {
    await folder.space.take(size)
    const part = new PiecePart(folder, pieceName, size)
    try {
      await part.#use((fd) => truncateOf(fd, size), constants.O_CREAT | constants.O_EXCL)
      return part
    } catch (error) {
      await part.discard().catch(() => {})
      throw storageError(error, `making ${part.name}`)
    }
  }

  /** Writes `runs`, offsets in the piece; `bytes` stand at `start` in the piece. */
  async write(runs: readonly ByteRange[], bytes: Uint8Array, start: number): Promise<void> {
    const writeRuns = () =>
      this.#use(async (fd) => {
        for (const run of runs) {
          await writeFully(fd, bytes.subarray(run.start - start, run.end - start), run.start)
        }
      })
    try {
      await writeRuns().catch(async (error: unknown) => {
        // What nobody needs makes room before anything is refused.
        if (!isErrno(error, 'ENOSPC', 'EDQUOT')) throw error
        if (!(await this.#folder.space.yield(this.#size))) throw error
        await writeRuns()
      })
    } catch (error) {
      throw storageError(error, `writing ${this.name}`)
    }
  }

  /** @returns false where the file is not there, or not as long as it was. */
  async read(bytes: Uint8Array, position: number): Promise<boolean> {
    try {
      const count = await this.#use((fd) => readFully(fd, bytes, position))
      return count === bytes.length
    } catch (error) {
      if (isErrno(error, 'ENOENT')) return false
      throw storageError(error, `reading ${this.name}`)
    }
  }

  async mark(): Promise<FileMark> {
    return markOf(await this.#use((fd) => fstatOf(fd)))
  }

  /** It was renamed: what it takes up is the piece's from now on. */
  async leave(): Promise<void> {
    this.#isThere = false
    await this.#folder.openFiles.close([this])
  }

  /** Deletes it. Calling it again, or after it was renamed, does nothing. */
  async discard(): Promise<void> {
    if (!this.#isThere) return
    this.#isThere = false
    await this.#folder.openFiles.close([this])
    try {
      await this.#folder.root.remove(this.#components)
      this.#folder.space.give(this.#size)
    } catch (error) {
      throw storageError(error, `deleting ${this.name}`)
    }
  }

  #use<T>(work: (fd: number) => Promise<T>, flags = 0): Promise<T> {
    const open = async () => {
      const { root } = this.#folder
      const all = constants.O_RDWR | flags
      try {
        return await root.open(this.#components, all)
      } catch (error) {
        if (flags === 0 || !isErrno(error, 'ENOENT')) throw error
        await this.#folder.makeShard(this.name)
        return await root.open(this.#components, all)
      }
    }
    return this.#folder.openFiles.use(this, open, work)
  }
}

/** What of `range` is no padding, as offsets in the piece that starts at `pieceStart`; what touches is one. */
export function contentRuns(layout: Layout, range: ByteRange, pieceStart: number): ByteRange[] {
  if (!layout.hasPadding) {
    return [{ start: range.start - pieceStart, end: range.end - pieceStart }]
  }
  const runs: { start: number; end: number }[] = []
  for (const { file, range: part } of layout.filesOf(range)) {
    if (file === -1) continue
    const start = part.start - pieceStart
    const end = part.end - pieceStart
    const last = runs.at(-1)
    if (last?.end === start) last.end = end
    else runs.push({ start, end })
  }
  return runs
}
