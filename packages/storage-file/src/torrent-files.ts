import { constants } from 'node:fs'
import {
  IsthmusError,
  isErrno,
  type Metainfo,
  type OpenFiles,
  readFully,
  storageError,
  writeFully,
} from '@isthmus/core'
import { fdatasyncOf, fstatOf, syncDirectory } from './own-file.ts'
import type { Placement } from './placement.ts'
import type { FileMark } from './torrent-state.ts'

const { O_RDONLY, O_RDWR, O_CREAT } = constants

/** One file on disk. It is the key of its descriptor for writing. */
interface PlacedFile {
  readonly name: string
  readonly components: readonly string[]
  /** The key of its descriptor for reading, used where nothing was written of late. */
  readonly reading: object
  /** Whether it is known that the file and the folders above it are there. */
  made: boolean
}

/** The files of one torrent, by their index. Reads and writes lie within the file. */
export class TorrentFiles {
  readonly #placement: Placement
  readonly #openFiles: OpenFiles
  readonly #files: readonly PlacedFile[]
  /** Folders that got new names since the last sync. */
  #newIn = new Set<string>()

  constructor(metainfo: Metainfo, placement: Placement, openFiles: OpenFiles) {
    this.#placement = placement
    this.#openFiles = openFiles
    this.#files = metainfo.files.map((file) => ({
      name: file.path.toString(),
      components: placement.paths[file.index] ?? [],
      reading: {},
      made: false,
    }))
  }

  /** @returns how many bytes there were. */
  async read(index: number, bytes: Uint8Array, position: number): Promise<number> {
    const file = this.#file(index)
    try {
      return await this.#useExisting(file, (fd) => readFully(fd, bytes, position))
    } catch (error) {
      if (isErrno(error, 'ENOENT')) return 0
      throw storageError(error, `reading ${file.name}`)
    }
  }

  async write(index: number, bytes: Uint8Array, position: number): Promise<void> {
    const file = this.#file(index)
    try {
      const open = () => this.#openForWriting(file)
      await this.#openFiles.use(file, open, (fd) => writeFully(fd, bytes, position))
    } catch (error) {
      throw storageError(error, `writing ${file.name}`)
    }
  }

  /** Makes an empty file where there is none. */
  async make(index: number): Promise<void> {
    await this.write(index, new Uint8Array(0), 0)
  }

  /** Puts what was written on the medium. @returns what the file looks like now; undefined where it is gone. */
  async sync(index: number): Promise<FileMark | undefined> {
    const file = this.#file(index)
    try {
      return await this.#useExisting(file, async (fd) => {
        // Windows syncs only what was opened for writing, and then it was written by us.
        await fdatasyncOf(fd).catch((error: unknown) => {
          if (!isErrno(error, 'EPERM')) throw error
        })
        const { size, mtimeMs, ino } = await fstatOf(fd)
        return { size, mtimeMs, ino }
      })
    } catch (error) {
      if (isErrno(error, 'ENOENT')) return undefined
      throw storageError(error, `syncing ${file.name}`)
    }
  }

  /** Makes the names of new files last. */
  async syncNames(): Promise<void> {
    const folders = this.#newIn
    this.#newIn = new Set()
    for (const path of folders) await syncDirectory(path)
  }

  async close(): Promise<void> {
    await this.#openFiles.close(this.#files.flatMap((file) => [file, file.reading]))
  }

  /** Deletes the files, and the folders above them as far as nothing else is in them. */
  async remove(): Promise<void> {
    const { root } = this.#placement
    const folders = new Map<string, readonly string[]>()
    for (const { name, components } of this.#files) {
      try {
        await root.remove(components)
      } catch (error) {
        throw storageError(error, `deleting ${name}`)
      }
      for (let depth = components.length - 1; depth > 0; depth--) {
        const folder = components.slice(0, depth)
        const key = folder.join('/')
        if (folders.has(key)) break
        folders.set(key, folder)
      }
    }
    const deepestFirst = [...folders.values()].sort((a, b) => b.length - a.length)
    for (const folder of deepestFirst) await root.removeIfEmpty(folder)
  }

  /** With the descriptor for writing where there is one, so that a file that is being filled has one, not two. */
  #useExisting<T>(file: PlacedFile, work: (fd: number) => Promise<T>): Promise<T> {
    const { root } = this.#placement
    return this.#openFiles.has(file)
      ? this.#openFiles.use(file, () => root.open(file.components, O_RDWR), work)
      : this.#openFiles.use(file.reading, () => root.open(file.components, O_RDONLY), work)
  }

  async #openForWriting(file: PlacedFile): Promise<number> {
    const { root } = this.#placement
    if (!file.made) await root.makeParents(file.components)
    const fd = await root.open(file.components, O_RDWR | O_CREAT)
    if (!file.made) {
      file.made = true
      for (let depth = 0; depth < file.components.length; depth++) {
        this.#newIn.add(root.pathOf(file.components.slice(0, depth)))
      }
    }
    return fd
  }

  #file(index: number): PlacedFile {
    const file = this.#files[index]
    if (file === undefined) throw new IsthmusError('ISTHMUS_STORAGE_FAILED', `no file ${index}`)
    return file
  }
}
