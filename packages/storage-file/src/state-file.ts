import { rename } from 'node:fs/promises'
import { isErrno, type Metainfo, type RootDirectory } from '@isthmus/core'
import { readOwnFile, writeOwnFile } from './own-file.ts'
import { OWN_FOLDER } from './placement.ts'
import {
  decodeTorrentState,
  encodeTorrentState,
  maxStateBytes,
  type TorrentState,
} from './torrent-state.ts'

/** The file that keeps the state of one torrent. */
export class StateFile {
  readonly #root: RootDirectory
  readonly #metainfo: Metainfo
  readonly #components: readonly string[]
  readonly #asideComponents: readonly string[]

  constructor(root: RootDirectory, metainfo: Metainfo) {
    this.#root = root
    this.#metainfo = metainfo
    this.#components = [OWN_FOLDER, `${metainfo.infoHash}.state`]
    this.#asideComponents = [OWN_FOLDER, `${metainfo.infoHash}.state.bad`]
  }

  /** A file that makes no sense is put aside as `.bad`: that costs a check of the torrent, not the torrent. */
  async load(): Promise<TorrentState | undefined> {
    const bytes = await readOwnFile(this.#root, this.#components, maxStateBytes(this.#metainfo))
    const state = bytes && decodeTorrentState(bytes, this.#metainfo)
    if (state === undefined) await this.#putAside()
    return state
  }

  /** Once it resolves, the state lasts. The old one stays where that fails. */
  async save(state: TorrentState): Promise<void> {
    const bytes = encodeTorrentState(this.#metainfo.infoHash, state)
    await writeOwnFile(this.#root, this.#components, bytes, { durable: true })
  }

  async remove(): Promise<void> {
    await this.#root.remove(this.#components)
    await this.#root.remove(this.#asideComponents)
  }

  async #putAside(): Promise<void> {
    const root = this.#root
    try {
      await rename(root.pathOf(this.#components), root.pathOf(this.#asideComponents))
    } catch (error) {
      if (!isErrno(error, 'ENOENT')) throw error
    }
  }
}
