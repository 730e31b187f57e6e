import { readdir } from 'node:fs/promises'
import { RootDirectory, type SessionStore, storageError } from '@isthmus/core'
import { readOwnFile, writeOwnFile } from './own-file.ts'
import { OWN_FOLDER } from './placement.ts'

export interface FileSessionOptions {
  /** May be the directory of a `FileStorage`. Made where it is missing. */
  readonly directory: string
}

const FOLDER = 'session'
const ENDING = '.torrent-record'
/** Larger than any metainfo that core takes by default, with room for the rest. */
const MAX_RECORD_BYTES = 16 * 1024 * 1024

/** Remembers a client's torrents in one file each, replaced by temp + fsync + rename. */
export class FileSession implements SessionStore {
  readonly #directory: string
  #root: Promise<RootDirectory> | undefined

  constructor({ directory }: FileSessionOptions) {
    this.#directory = directory
  }

  async load(): Promise<readonly Uint8Array[]> {
    const root = await this.#open()
    const records: Uint8Array[] = []
    try {
      for (const name of await readdir(root.pathOf([OWN_FOLDER, FOLDER]))) {
        if (!name.endsWith(ENDING)) continue
        const record = await readOwnFile(root, [OWN_FOLDER, FOLDER, name], MAX_RECORD_BYTES)
        if (record !== undefined) records.push(record)
      }
    } catch (error) {
      throw storageError(error, 'reading the session')
    }
    return records
  }

  async save(key: string, record: Uint8Array): Promise<void> {
    const root = await this.#open()
    try {
      await writeOwnFile(root, this.#components(key), record, { durable: true })
    } catch (error) {
      throw storageError(error, 'saving the session')
    }
  }

  async delete(key: string): Promise<void> {
    const root = await this.#open()
    try {
      await root.remove(this.#components(key))
    } catch (error) {
      throw storageError(error, 'saving the session')
    }
  }

  #components(key: string): readonly string[] {
    return [OWN_FOLDER, FOLDER, `${key}${ENDING}`]
  }

  #open(): Promise<RootDirectory> {
    this.#root ??= this.#make().catch((error: unknown) => {
      this.#root = undefined
      throw storageError(error, 'opening the session')
    })
    return this.#root
  }

  async #make(): Promise<RootDirectory> {
    const root = await RootDirectory.open(this.#directory, { create: true })
    await root.makeParents([OWN_FOLDER, FOLDER, 'any'])
    return root
  }
}
