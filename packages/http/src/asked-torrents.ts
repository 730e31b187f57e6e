import type { AbortOptions, Client, InfoHash, Torrent } from '@isthmus/core'
import { abortable, isIsthmusError } from '@isthmus/core'

/** A torrent in use. Dispose of it once the use is over. */
export interface TorrentLease extends Disposable {
  readonly torrent: Torrent
}

interface Asked {
  readonly torrent: Torrent
  uses: number
  timer?: ReturnType<typeof setTimeout> | undefined
}

/** The torrents that nobody added but a request for one of their files, dropped some time after their last use. */
export class AskedTorrents {
  readonly #client: Client
  readonly #dropAfterMs: number
  readonly #onError: (error: unknown) => void
  readonly #asked = new Map<Torrent, Asked>()
  readonly #adding = new Map<InfoHash, Promise<Torrent>>()
  readonly #kept = new WeakSet<Torrent>()
  #closed = false

  constructor(
    client: Client,
    options: { readonly dropAfterMs: number; readonly onError: (error: unknown) => void },
  ) {
    this.#client = client
    this.#dropAfterMs = options.dropAfterMs
    this.#onError = options.onError
  }

  /** The torrent of that hash, added where it is not known. Never waits for the swarm. */
  async lease(infoHash: InfoHash, { signal }: AbortOptions): Promise<TorrentLease> {
    const adding = this.#adding.get(infoHash)
    const known = adding === undefined ? this.#client.get(infoHash) : undefined
    const torrent = known ?? (await abortable(adding ?? this.#add(infoHash), signal))
    const asked = this.#asked.get(torrent)
    return asked === undefined ? { torrent, [Symbol.dispose]() {} } : this.#use(asked)
  }

  /** Somebody added it by hand: from now on it stays. */
  keep(torrent: Torrent): void {
    this.#kept.add(torrent)
    this.forget(torrent)
  }

  /** It is gone, or somebody else's concern. */
  forget(torrent: Torrent): void {
    clearTimeout(this.#asked.get(torrent)?.timer)
    this.#asked.delete(torrent)
  }

  /** Clears the timers. What was not dropped yet stays with the client. */
  close(): void {
    this.#closed = true
    for (const { torrent } of [...this.#asked.values()]) this.forget(torrent)
  }

  /** Shared by all who ask meanwhile, so that none of them ends it for the others by leaving. */
  #add(infoHash: InfoHash): Promise<Torrent> {
    const adding = this.#client
      .add(infoHash)
      .then((torrent) => {
        if (!this.#asked.has(torrent) && !this.#kept.has(torrent)) {
          const asked: Asked = { torrent, uses: 0 }
          this.#asked.set(torrent, asked)
          this.#dropLater(asked)
        }
        return torrent
      })
      .finally(() => this.#adding.delete(infoHash))
    this.#adding.set(infoHash, adding)
    return adding
  }

  #use(asked: Asked): TorrentLease {
    clearTimeout(asked.timer)
    asked.uses++
    let used = true
    return {
      torrent: asked.torrent,
      [Symbol.dispose]: () => {
        if (used) this.#release(asked)
        used = false
      },
    }
  }

  #release(asked: Asked): void {
    asked.uses--
    if (asked.uses === 0 && this.#asked.get(asked.torrent) === asked) this.#dropLater(asked)
  }

  #dropLater(asked: Asked): void {
    if (this.#closed) return
    asked.timer = setTimeout(() => this.#drop(asked.torrent), this.#dropAfterMs)
    asked.timer.unref?.()
  }

  #drop(torrent: Torrent): void {
    this.forget(torrent)
    this.#client.remove(torrent).catch((error: unknown) => {
      if (!isIsthmusError(error, 'ISTHMUS_TORRENT_UNKNOWN')) this.#onError(error)
    })
  }
}
