import type {
  AnnounceEvent,
  Discovery,
  PeerAddress,
  TransferTotals,
} from './discovery/discovery.ts'
import { TrackerDiscovery } from './discovery/tracker-discovery.ts'
import { IsthmusError, isIsthmusError } from './errors.ts'
import type { TorrentId } from './metainfo/info-hash.ts'
import type { TorrentContext } from './torrent-context.ts'

export interface TorrentSourcesOptions {
  readonly id: TorrentId
  readonly context: TorrentContext
  readonly trackers: readonly (readonly string[])[]
  readonly totals: () => TransferTotals
  readonly onPeers: (peers: readonly PeerAddress[]) => void
  readonly onWarning: (error: IsthmusError) => void
}

/** Where one torrent's peers come from: its trackers, and what the client has beside them. */
export class TorrentSources {
  readonly #options: TorrentSourcesOptions
  readonly #trackers: TrackerDiscovery
  readonly #ended = new AbortController()
  /** Aborted where it turns out that the torrent is private. */
  readonly #public = new AbortController()
  readonly #finding: Promise<void>[] = []
  /** BEP 27: a private torrent's peers come from its trackers alone. */
  #private = false
  #started = false

  constructor(options: TorrentSourcesOptions) {
    const { context, totals, trackers, onWarning } = options
    this.#options = options
    this.#trackers = new TrackerDiscovery({
      trackers: context.trackers ? trackers : [],
      guard: context.guard,
      peerId: context.peerId,
      port: () => context.port() ?? 0,
      limits: context.limits,
      totals,
      onWarning,
    })
  }

  /** What each tracker last said. */
  get trackerStatus() {
    return this.#trackers.status
  }

  addTrackers(urls: readonly string[]): void {
    if (!this.#options.context.trackers || urls.length === 0) return
    const first = this.#trackers.status.length === 0
    this.#trackers.addTrackers(urls)
    if (first && this.#started) void this.#announce(this.#trackers, 'started')
  }

  start({ isPrivate }: { isPrivate: boolean }): void {
    if (this.#started) return
    this.#started = true
    this.#private = isPrivate
    for (const source of this.#sources) {
      this.#finding.push(this.#find(source))
      void this.#announce(source, 'started')
    }
  }

  /** The metadata came, and says that the torrent is private: all sources but its trackers forget it. */
  restrict(): void {
    if (this.#private) return
    const others = this.#others
    this.#private = true
    this.#public.abort()
    if (!this.#started) return
    for (const source of others) void this.#announce(source, 'stopped')
  }

  completed(): void {
    if (!this.#started) return
    for (const source of this.#sources) void this.#announce(source, 'completed')
  }

  /** Says good-bye, as far as that is quick. */
  async close(): Promise<void> {
    this.#ended.abort()
    if (this.#started) {
      await Promise.all(this.#sources.map((source) => this.#announce(source, 'stopped')))
    }
    await this.#trackers.close()
    await Promise.all(this.#finding)
  }

  get #sources(): readonly Discovery[] {
    return [this.#trackers, ...this.#others]
  }

  get #others(): readonly Discovery[] {
    const { discovery, localDiscovery } = this.#options.context
    return this.#private ? [] : [...discovery, ...localDiscovery]
  }

  async #find(source: Discovery): Promise<void> {
    const { id, context, onPeers } = this.#options
    const isLocal = context.localDiscovery.includes(source)
    const ends = [this.#ended.signal, ...(source === this.#trackers ? [] : [this.#public.signal])]
    try {
      for await (const address of source.find(id, { signal: AbortSignal.any(ends) })) {
        if (isLocal || context.guard.allowsPeer(address)) onPeers([address])
      }
    } catch (error) {
      this.#warn(error)
    }
  }

  async #announce(source: Discovery, event: AnnounceEvent): Promise<void> {
    const { id, totals } = this.#options
    if (source === this.#trackers && this.#trackers.status.length === 0) return
    try {
      await source.announce(id, event, { totals: totals() })
    } catch (error) {
      this.#warn(error)
    }
  }

  #warn(error: unknown): void {
    if (this.#ended.signal.aborted) return
    this.#options.onWarning(
      isIsthmusError(error)
        ? error
        : new IsthmusError('ISTHMUS_DISCOVERY_FAILED', 'a source of peers failed', {
            cause: error,
          }),
    )
  }
}
