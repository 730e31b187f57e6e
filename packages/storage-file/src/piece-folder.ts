import { constants } from 'node:fs'
import { rename } from 'node:fs/promises'
import {
  isErrno,
  isIsthmusError,
  type OpenFiles,
  type RootDirectory,
  readFully,
  storageError,
} from '@isthmus/core'
import type { CacheSpace } from './cache-space.ts'
import { KeyedTurns } from './keyed-turns.ts'
import { fdatasyncOf, fstatOf, syncDirectory } from './own-file.ts'
import type { PieceFile, PieceHolder } from './piece-file.ts'
import type { IndexEntry, PieceIndex } from './piece-index.ts'
import { shardOf } from './piece-name.ts'
import type { FileMark } from './torrent-state.ts'

export interface PieceFolderOptions {
  readonly root: RootDirectory
  readonly openFiles: OpenFiles
  readonly space: CacheSpace
  readonly index: PieceIndex
}

/** The pieces of one namespace on disk, by their names. What is here is whole, right or wrong. */
export class PieceFolder {
  readonly root: RootDirectory
  readonly openFiles: OpenFiles
  readonly space: CacheSpace
  readonly #index: PieceIndex
  readonly #files = new Map<string, PieceFile>()
  /** Renaming to a name and deleting it must not overtake each other. */
  readonly #turns = new KeyedTurns<string>()
  /** Committed, and not yet on the medium. */
  readonly #unsynced = new Set<PieceFile>()
  /** Whether there are shards whose own names are not on the medium. */
  #newShards = false
  #syncedCount = 0
  /** Whether the index is behind, if only in what was used when. */
  #stale = false

  constructor(options: PieceFolderOptions) {
    this.root = options.root
    this.openFiles = options.openFiles
    this.space = options.space
    this.#index = options.index
  }

  get size(): number {
    return this.#files.size
  }

  get(name: string): PieceFile | undefined {
    return this.#files.get(name)
  }

  /** Takes in what was found on disk. The oldest first, over all folders of a cache. */
  found(name: string, mark: FileMark, entry: IndexEntry | undefined): void {
    const synced = entry !== undefined && isSame(mark, entry.mark)
    const lastUsed = Math.min(entry?.lastUsed ?? mark.mtimeMs, Date.now())
    const file = { name, folder: this, mark, holders: new Set<PieceHolder>(), synced, lastUsed }
    this.#files.set(name, file)
    if (synced) this.#syncedCount++
    this.space.add(mark.size)
    this.space.settle(file)
  }

  /** Makes the folder that parts and the piece lie in. */
  async makeShard(name: string): Promise<void> {
    await this.root.makeParents([shardOf(name), name])
    this.#newShards = true
  }

  /**
   * Gives the part, whose bytes look like `mark`, the name of the piece. Those who saw a file of that
   * name see this one from then on, and so does `holder`.
   */
  async put(
    name: string,
    part: string,
    mark: FileMark,
    holder: Omit<PieceHolder, 'file'>,
  ): Promise<PieceHolder> {
    return await this.#turns.take(name, async () => {
      await rename(this.root.pathOf([shardOf(name), part]), this.#path(name))
      const before = this.#files.get(name)
      const holders = before?.holders ?? new Set<PieceHolder>()
      const lastUsed = this.space.now()
      const file: PieceFile = { name, folder: this, mark, holders, synced: false, lastUsed }
      if (before !== undefined) this.#drop(before, Promise.resolve())
      this.#files.set(name, file)
      for (const other of holders) other.file = file
      const added = Object.assign(holder, { file })
      this.hold(added)
      if (before !== undefined) await this.openFiles.close([before])
      return added
    })
  }

  hold(holder: PieceHolder): void {
    holder.file.holders.add(holder)
    this.space.settle(holder.file)
  }

  /** Whoever held it does no more. The file stays. */
  unhold(holder: PieceHolder): void {
    const { file } = holder
    if (!file.holders.delete(holder)) return
    if (this.#isThere(file)) this.space.settle(file)
  }

  /** Its bytes are right: from now on it is to last. */
  commit(file: PieceFile): boolean {
    if (file.synced || !this.#isThere(file) || this.#unsynced.has(file)) return false
    this.#unsynced.add(file)
    return true
  }

  /** @returns false where the file is gone, or not as we left it: then it is no piece any more. */
  async read(file: PieceFile, bytes: Uint8Array, position: number): Promise<boolean> {
    const open = () => this.root.open([shardOf(file.name), file.name], constants.O_RDONLY)
    try {
      const same = await this.openFiles.use(file, open, async (fd) => {
        const count = await readFully(fd, bytes, position)
        // After the bytes were read, so that no change escapes.
        return count === bytes.length && isSame(markOf(await fstatOf(fd)), file.mark)
      })
      if (same) {
        this.space.touch(file)
        this.#stale = true
        return true
      }
    } catch (error) {
      if (!isGone(error)) throw storageError(error, `reading piece ${file.name}`)
    }
    await this.#lose(file)
    return false
  }

  /** Deletes a piece. Whoever sees it is told, and sees it no more, before anything is waited for. */
  async remove(file: PieceFile): Promise<void> {
    const { name } = file
    if (!this.#isThere(file)) return
    const gone = this.#turns.take(name, async () => {
      await this.openFiles.close([file])
      // One that came meanwhile took its place.
      if (!this.#files.has(name)) await this.root.remove([shardOf(name), name])
    })
    this.#drop(file, gone)
    for (const holder of file.holders) holder.lost()
    try {
      await gone
    } catch (error) {
      // It is still there, and counts.
      if (!this.#files.has(name)) this.#keepUnseen(file)
      throw storageError(error, `deleting piece ${name}`)
    }
  }

  /** Puts what was committed on the medium, then says so in the index. */
  async sync(): Promise<void> {
    try {
      await this.#withDescriptors(async () => {
        const synced: PieceFile[] = []
        for (const file of [...this.#unsynced]) if (await this.#syncFile(file)) synced.push(file)
        for (const shard of new Set(synced.map(({ name }) => shardOf(name)))) {
          await syncDirectory(this.root.pathOf([shard]))
        }
        if (this.#newShards) await this.#syncShards()
        await this.#record(synced.filter((file) => this.#isThere(file)))
      })
    } catch (error) {
      throw storageError(error, 'syncing pieces')
    }
  }

  /** Writes down what was used when. */
  async saveOrder(): Promise<void> {
    if (!this.#stale) return
    try {
      await this.#withDescriptors(() => this.#index.rewrite(this.#entries()))
      this.#stale = false
    } catch (error) {
      throw storageError(error, 'saving the index of pieces')
    }
  }

  /** Where the process has no descriptor left, gives ours back, and tries once more. */
  async #withDescriptors(work: () => Promise<void>): Promise<void> {
    try {
      await work()
    } catch (error) {
      if (!isErrno(error, 'EMFILE', 'ENFILE')) throw error
      await this.openFiles.close(this.#files.values())
      await work()
    }
  }

  async #record(synced: readonly PieceFile[]): Promise<void> {
    const count = this.#syncedCount + synced.length
    const all = () => [...this.#entries(), ...synced.map(entryOf)]
    await this.#index.save(synced.map(entryOf), count, all)
    for (const file of synced) {
      if (!this.#unsynced.delete(file)) continue
      file.synced = true
      this.#syncedCount++
    }
  }

  /** @returns whether it lasts now. */
  async #syncFile(file: PieceFile): Promise<boolean> {
    if (!this.#isThere(file)) return false
    const open = () => this.root.open([shardOf(file.name), file.name], constants.O_RDWR)
    let isFine = true
    try {
      await this.openFiles.use(file, open, async (fd) => {
        isFine = await fdatasyncOf(fd).then(
          () => true,
          // Windows syncs only what was opened for writing, and then it was written by us. After any
          // other failure the system may have dropped what it could not write.
          (error: unknown) => isErrno(error, 'EPERM'),
        )
        isFine &&= isSame(markOf(await fstatOf(fd)), file.mark)
      })
    } catch (error) {
      if (!isGone(error)) throw error
      isFine = false
    }
    if (!isFine) await this.#lose(file)
    // Nobody will close it later.
    else if (file.holders.size === 0) await this.openFiles.close([file])
    return isFine
  }

  /** It is not as we left it, unless one of ours is about to take its place. */
  async #lose(file: PieceFile): Promise<void> {
    await this.#turns.settled(file.name)
    await this.remove(file)
    await this.openFiles.close([file])
  }

  #keepUnseen({ name, mark, lastUsed }: PieceFile): void {
    const holders = new Set<PieceHolder>()
    const file = { name, folder: this, mark, holders, synced: false, lastUsed }
    this.#files.set(name, file)
    this.space.settle(file)
  }

  async #syncShards(): Promise<void> {
    this.#newShards = false
    try {
      await syncDirectory(this.root.path)
    } catch (error) {
      this.#newShards = true
      throw error
    }
  }

  #entries(): IndexEntry[] {
    return [...this.#files.values()]
      .filter(({ synced }) => synced)
      .sort((a, b) => a.lastUsed - b.lastUsed)
      .map(entryOf)
  }

  #drop(file: PieceFile, gone: Promise<void>): void {
    this.#files.delete(file.name)
    this.#unsynced.delete(file)
    if (file.synced) this.#syncedCount--
    file.synced = false
    this.space.leave(file, gone)
  }

  #isThere(file: PieceFile): boolean {
    return this.#files.get(file.name) === file
  }

  #path(name: string): string {
    return this.root.pathOf([shardOf(name), name])
  }
}

export function markOf({ size, mtimeMs, ino }: FileMark): FileMark {
  return { size, mtimeMs, ino }
}

function isSame(one: FileMark, other: FileMark): boolean {
  return one.size === other.size && one.mtimeMs === other.mtimeMs && one.ino === other.ino
}

function entryOf({ name, mark, lastUsed }: PieceFile): IndexEntry {
  return { name, mark, lastUsed }
}

/** There is no such file any more, or something else in its place. */
function isGone(error: unknown): boolean {
  return isErrno(error, 'ENOENT', 'ENOTDIR') || isIsthmusError(error, 'ISTHMUS_PATH_UNSAFE')
}
