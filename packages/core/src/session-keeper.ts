import { IsthmusError, isIsthmusError } from './errors.ts'
import type { Limits } from './limits.ts'
import {
  decodeSessionRecord,
  encodeSessionRecord,
  type SessionRecord,
  type SessionStore,
} from './session.ts'
import type { Torrent } from './torrent.ts'

export interface SessionKeeperOptions {
  readonly store: SessionStore
  readonly limits: Limits
  readonly onWarning: (error: IsthmusError) => void
}

/** Keeps a session store in step with the torrents of a client. A store that fails is a warning, never more. */
export class SessionKeeper {
  readonly #options: SessionKeeperOptions
  /** What earlier runs transferred. */
  readonly #before = new Map<Torrent, SessionRecord>()
  readonly #kept = new Set<Torrent>()
  /** Writes go out one after the other. */
  #writing: Promise<void> = Promise.resolve()

  constructor(options: SessionKeeperOptions) {
    this.#options = options
  }

  /** What was remembered, as far as it makes sense. */
  async load(): Promise<readonly SessionRecord[]> {
    const { store, limits } = this.#options
    const records: SessionRecord[] = []
    for (const bytes of await this.#try(() => store.load(), [])) {
      try {
        records.push(decodeSessionRecord(bytes, limits))
      } catch (error) {
        this.#warn(error)
      }
    }
    return records
  }

  /** From now on the torrent is remembered. */
  keep(torrent: Torrent, before?: SessionRecord): void {
    this.#kept.add(torrent)
    if (before !== undefined) this.#before.set(torrent, before)
    this.#save(torrent)
    if (!torrent.isReady) torrent.once('ready', () => this.#save(torrent))
  }

  forget(torrent: Torrent): void {
    if (!this.#kept.delete(torrent)) return
    this.#before.delete(torrent)
    this.#enqueue(() => this.#options.store.delete(torrent.infoHash))
  }

  /** Writes down how far all of them came; resolves once everything is saved. */
  async close(): Promise<void> {
    for (const torrent of this.#kept) this.#save(torrent)
    this.#kept.clear()
    await this.#writing
  }

  #save(torrent: Torrent): void {
    if (!this.#kept.has(torrent)) return
    const before = this.#before.get(torrent)
    const { metainfo, name, trackers } = torrent
    const record = encodeSessionRecord({
      id: metainfo?.id ?? torrent.id,
      name,
      metainfo,
      trackers: tiersOf(trackers),
      downloaded: (before?.downloaded ?? 0) + torrent.downloaded,
      uploaded: (before?.uploaded ?? 0) + torrent.uploaded,
    })
    this.#enqueue(() => this.#options.store.save(torrent.infoHash, record))
  }

  #enqueue(write: () => Promise<void>): void {
    this.#writing = this.#writing.then(() => this.#try(write, undefined))
  }

  async #try<T>(work: () => Promise<T>, otherwise: T): Promise<T> {
    try {
      return await work()
    } catch (error) {
      this.#warn(error)
      return otherwise
    }
  }

  #warn(cause: unknown): void {
    this.#options.onWarning(
      isIsthmusError(cause)
        ? cause
        : new IsthmusError('ISTHMUS_STORAGE_FAILED', 'the session was not kept', { cause }),
    )
  }
}

function tiersOf(trackers: Torrent['trackers']): string[][] {
  const tiers: string[][] = []
  for (const { url, tier } of trackers) {
    tiers[tier] ??= []
    tiers[tier].push(url)
  }
  return tiers.filter((tier) => tier !== undefined)
}
