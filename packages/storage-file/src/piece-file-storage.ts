import {
  abortable,
  type Metainfo,
  type PieceStorage,
  type Storage,
  type StorageOpenOptions,
  storageError,
} from '@isthmus/core'
import { CacheDirectory, type CacheDirectoryOptions } from './cache-directory.ts'
import { CachedPieces } from './cached-pieces.ts'

export interface PieceFileStorageOptions {
  /** Made where it is missing. One storage at a time may use it, and nothing else. */
  readonly directory: string
  /** Bytes on disk, of all torrents and namespaces together. */
  readonly maxBytes: number
  /** Files to hold open at a time, for all torrents together. @defaultValue 256 */
  readonly maxOpenFiles?: number | undefined
  /** The least time between two syncs, in ms: what may be lost by an unclean stop. @defaultValue 1_000 */
  readonly syncIntervalMs?: number | undefined
}

/**
 * A cache on disk that holds `maxBytes`: one file per piece, called like its hash, so that torrents
 * with equal pieces share them, one torrent after the other or at the same time. What was least
 * recently used goes first, over all torrents, also those of earlier runs. Namespaces share nothing but
 * the room. Symbolic links below the directory are not followed.
 */
export class PieceFileStorage implements Storage {
  readonly #options: CacheDirectoryOptions
  #cache: Promise<CacheDirectory> | undefined

  /** @throws RangeError for a number that makes no sense. */
  constructor(options: PieceFileStorageOptions) {
    const { directory, maxBytes, maxOpenFiles = 256, syncIntervalMs = 1000 } = options
    if (!Number.isSafeInteger(maxBytes) || maxBytes <= 0) {
      throw new RangeError(`maxBytes must be a positive integer, not ${maxBytes}`)
    }
    if (!Number.isSafeInteger(maxOpenFiles) || maxOpenFiles <= 0) {
      throw new RangeError(`maxOpenFiles must be a positive integer, not ${maxOpenFiles}`)
    }
    if (!(syncIntervalMs >= 0)) {
      throw new RangeError(`syncIntervalMs must not be negative, nor ${syncIntervalMs}`)
    }
    this.#options = { directory, maxBytes, maxOpenFiles, syncIntervalMs }
  }

  /**
   * What is on disk of the torrent's pieces is there at once, whoever brought it. The first call looks
   * at all files of the cache. Torrents may be open more than once. Pieces that were not committed are
   * gone when the torrent is closed.
   */
  async open(metainfo: Metainfo, options: StorageOpenOptions = {}): Promise<PieceStorage> {
    const { namespace = '', signal } = options
    signal?.throwIfAborted()
    try {
      const cache = await abortable(this.#opened(), signal)
      const { folder, committed, close } = await cache.open(namespace)
      try {
        const parts = { metainfo, folder, committed, closed: close }
        return await CachedPieces.open(parts, { signal })
      } catch (error) {
        await close().catch(() => {})
        throw error
      }
    } catch (error) {
      throw signal?.aborted === true ? error : storageError(error, `opening ${metainfo.name}`)
    }
  }

  #opened(): Promise<CacheDirectory> {
    this.#cache ??= CacheDirectory.open(this.#options).catch((error: unknown) => {
      // Whatever it was may be over when somebody opens again.
      this.#cache = undefined
      throw error
    })
    return this.#cache
  }
}
