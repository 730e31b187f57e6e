import type { TorrentId } from '../metainfo/info-hash.ts'
import type { PeerAddress } from '../net/peer-address.ts'
import type { AbortOptions } from '../signal.ts'

export type { PeerAddress } from '../net/peer-address.ts'

/** What an announce tells (BEP 3). `update` is the regular one in between. */
export type AnnounceEvent = 'started' | 'update' | 'completed' | 'stopped'

/** Numbers of a torrent that announces report, in bytes. */
export interface TransferTotals {
  readonly uploaded: number
  readonly downloaded: number
  /** Bytes still missing; unknown before the metadata is there. */
  readonly left?: number | undefined
}

export interface AnnounceOptions extends AbortOptions {
  readonly totals: TransferTotals
}

/** Finds peers of a torrent from one source (trackers, DHT, LSD). */
export interface Discovery {
  /**
   * Yields peers as they are found, perhaps the same one more than once, until `signal` aborts (then
   * it ends, it does not throw). An empty source waits; it does not end.
   */
  find(id: TorrentId, options: AbortOptions): AsyncIterable<PeerAddress>
  /** Tells the source about us. Rejects with `ISTHMUS_DISCOVERY_FAILED` or a narrower code when nobody took it. */
  announce(id: TorrentId, event: AnnounceEvent, options: AnnounceOptions): Promise<void>
  /** Ends every `find`, and waits for what is under way. */
  close(): Promise<void>
}
