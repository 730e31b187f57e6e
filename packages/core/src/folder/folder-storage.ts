import { constants } from 'node:fs'
import type { ByteRange } from '../byte-source.ts'
import { IsthmusError, isIsthmusError } from '../errors.ts'
import { Bitfield } from '../metainfo/bitfield.ts'
import type { Metainfo, MetainfoFile } from '../metainfo/metainfo.ts'
import type { AbortOptions } from '../signal.ts'
import { OpenFiles } from '../storage/open-files.ts'
import { readFully } from '../storage/positioned-io.ts'
import { readBuffer } from '../storage/read-buffer.ts'
import { isErrno, RootDirectory } from '../storage/root-directory.ts'
import type { PieceStorage, Storage, StorageOpenOptions, StorageState } from '../storage/storage.ts'
import { storageError } from '../storage/storage-error.ts'
import { WorkGate } from '../storage/work-gate.ts'
import { WrittenBytes } from '../storage/written-bytes.ts'

export interface FolderStorageOptions {
  /** The directory that holds the file of a single-file torrent, or the folder named like the torrent. */
  readonly directory: string
  /** Files to hold open at a time, for all torrents together. @defaultValue 64 */
  readonly maxOpenFiles?: number | undefined
}

/**
 * Files that others own and may change, found by their true names in the torrent and only ever read.
 * Symbolic links below the directory are not followed: what they stand for counts as missing.
 */
export class FolderStorage implements Storage {
  readonly #directory: string
  readonly #openFiles: OpenFiles

  constructor(options: FolderStorageOptions) {
    const { directory, maxOpenFiles = 64 } = options
    this.#directory = directory
    this.#openFiles = new OpenFiles({ maxOpenFiles })
  }

  /**
   * Rejects with `ISTHMUS_STORAGE_FAILED` where the directory is not there. `namespace` changes
   * nothing: nobody writes here, so nobody can meet another's bytes.
   */
  async open(metainfo: Metainfo, options: StorageOpenOptions = {}): Promise<PieceStorage> {
    options.signal?.throwIfAborted()
    const root = await RootDirectory.open(this.#directory).catch((error: unknown) => {
      throw storageError(error, 'opening the folder')
    })
    options.signal?.throwIfAborted()
    return new FolderPieces(metainfo, root, this.#openFiles)
  }
}

class FolderPieces implements PieceStorage {
  readonly trust = 'mutable'
  readonly #metainfo: Metainfo
  readonly #root: RootDirectory
  readonly #openFiles: OpenFiles
  /** By index; made here, so that no other torrent's descriptors are known by the same key. */
  readonly #keys = new Map<number, object>()
  readonly #gate = new WorkGate()

  constructor(metainfo: Metainfo, root: RootDirectory, openFiles: OpenFiles) {
    this.#metainfo = metainfo
    this.#root = root
    this.#openFiles = openFiles
  }

  /** Present are the pieces whose files are there with exactly the size that the torrent says. */
  state(options: AbortOptions = {}): Promise<StorageState> {
    return this.#gate.enter(options, async () => {
      const { layout, files } = this.#metainfo
      const paths = files.map((file) => file.path.components)
      const found = await this.#root.statAll(paths, options).catch((error: unknown) => {
        throw options.signal?.aborted === true
          ? error
          : storageError(error, 'looking at the folder')
      })
      const written = new WrittenBytes(layout)
      for (const { index, offset, length } of files) {
        const stats = found[index]
        if (stats === undefined || isIsthmusError(stats)) continue
        if (!stats.isFile() || stats.size !== length) continue
        written.add({ start: offset, end: offset + length })
      }
      return { present: written.present, verified: new Bitfield(layout.pieceCount) }
    })
  }

  read(
    span: ByteRange,
    options: AbortOptions & { readonly into?: Uint8Array | undefined } = {},
  ): Promise<Uint8Array> {
    return this.#gate.enter(options, async () => {
      const { layout, files } = this.#metainfo
      const bytes = readBuffer(span, layout.length, options.into)
      for (const { file: index, fileRange, range } of layout.filesOf(span)) {
        options.signal?.throwIfAborted()
        const part = bytes.subarray(range.start - span.start, range.end - span.start)
        const file = files[index]
        if (file === undefined) part.fill(0)
        else await this.#readFile(file, fileRange.start, part)
      }
      return bytes
    })
  }

  async close(): Promise<void> {
    await this.#gate.close()
    await this.#openFiles.close(this.#keys.values())
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }

  async #readFile(file: MetainfoFile, position: number, part: Uint8Array): Promise<void> {
    let count = 0
    try {
      count = await this.#openFiles.use(
        this.#keyOf(file),
        () => this.#root.open(file.path.components, constants.O_RDONLY),
        (fd) => readFully(fd, part, position),
      )
    } catch (error) {
      const missing = isErrno(error, 'ENOENT') || isIsthmusError(error, 'ISTHMUS_PATH_UNSAFE')
      if (!missing) throw storageError(error, `reading ${file.path}`)
      throw new IsthmusError('ISTHMUS_PIECE_MISSING', `${file.path} is not in the folder`, {
        cause: error,
      })
    }
    if (count < part.length) {
      throw new IsthmusError('ISTHMUS_PIECE_MISSING', `${file.path} is shorter than it should be`)
    }
  }

  #keyOf(file: MetainfoFile): object {
    let key = this.#keys.get(file.index)
    if (key === undefined) {
      key = { file: file.index }
      this.#keys.set(file.index, key)
    }
    return key
  }
}
