import {
  IsthmusError,
  type Metainfo,
  OpenFiles,
  type PieceStorage,
  type Storage,
  type StorageOpenOptions,
  storageError,
} from '@isthmus/core'
import { FilePieces } from './file-pieces.ts'
import { placeTorrent } from './placement.ts'
import { Turns } from './turns.ts'

export interface FileStorageOptions {
  /** Made where it is missing. One process at a time may use it. */
  readonly directory: string
  /** Files to hold open at a time, for all torrents together. @defaultValue 256 */
  readonly maxOpenFiles?: number | undefined
  /** The least time between two syncs of a torrent, in ms: what may be lost by an unclean stop. @defaultValue 1_000 */
  readonly syncIntervalMs?: number | undefined
}

/**
 * Keeps torrents as their own files below one directory, sparse while they are incomplete. What was
 * committed survives restarts, without being checked again where the files are as they were left.
 * Symbolic links below the directory are not followed.
 */
export class FileStorage implements Storage {
  readonly #directory: string
  readonly #syncIntervalMs: number
  readonly #openFiles: OpenFiles
  readonly #torrents = new Map<string, Promise<FilePieces>>()
  readonly #placing = new Turns()
  readonly #syncing = new Turns()

  /** @throws RangeError for a number that makes no sense. */
  constructor(options: FileStorageOptions) {
    const { directory, maxOpenFiles = 256, syncIntervalMs = 1000 } = options
    if (!(syncIntervalMs >= 0)) {
      throw new RangeError(`syncIntervalMs must not be negative, nor ${syncIntervalMs}`)
    }
    this.#directory = directory
    this.#syncIntervalMs = syncIntervalMs
    this.#openFiles = new OpenFiles({ maxOpenFiles })
  }

  /**
   * Rejects with `ISTHMUS_PATH_UNSAFE` where a symbolic link stands in the place of one of the
   * torrent's files or folders, and with `ISTHMUS_STORAGE_FAILED` where the torrent is open already.
   */
  async open(metainfo: Metainfo, options: StorageOpenOptions = {}): Promise<PieceStorage> {
    const { namespace = '', signal } = options
    signal?.throwIfAborted()
    const key = `${metainfo.infoHash} ${namespace}`
    for (let known = this.#torrents.get(key); known; known = this.#torrents.get(key)) {
      const pieces = await known.catch(() => undefined)
      if (pieces?.isClosed === false) {
        throw new IsthmusError('ISTHMUS_STORAGE_FAILED', `${metainfo.name} is open already`)
      }
      // Whoever closed it hears of a failure.
      await pieces?.close().catch(() => {})
    }
    const forget = () => this.#torrents.delete(key)
    const opening = this.#open(metainfo, options, forget).catch((error: unknown) => {
      forget()
      throw signal?.aborted === true ? error : storageError(error, `opening ${metainfo.name}`)
    })
    this.#torrents.set(key, opening)
    return await opening
  }

  async #open(
    metainfo: Metainfo,
    options: StorageOpenOptions,
    closed: () => void,
  ): Promise<FilePieces> {
    const { namespace = '', signal } = options
    const placement = await this.#placing.take(() =>
      placeTorrent(this.#directory, namespace, metainfo),
    )
    return await FilePieces.open({
      metainfo,
      placement,
      openFiles: this.#openFiles,
      syncing: this.#syncing,
      syncIntervalMs: this.#syncIntervalMs,
      closed,
      signal,
    })
  }
}
