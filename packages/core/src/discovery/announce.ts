import type { EgressGuard } from '../net/egress-guard.ts'
import type { PeerAddress } from '../net/peer-address.ts'
import type { AbortOptions } from '../signal.ts'
import type { AnnounceEvent, TransferTotals } from './discovery.ts'

/** One announce of one torrent to one tracker. */
export interface AnnounceRequest {
  /** 20 bytes. */
  readonly infoHash: Uint8Array
  /** 20 bytes. */
  readonly peerId: Uint8Array
  /** Where we listen for peers. */
  readonly port: number
  readonly event: AnnounceEvent
  readonly totals: TransferTotals
  /** 32 random bits that stay the same for one client, by which a tracker knows it on another address. */
  readonly key: number
  /** Peers to answer. @defaultValue 50 */
  readonly numWant?: number | undefined
  /** What the tracker called itself in an earlier reply. */
  readonly trackerId?: string | undefined
}

export interface AnnounceReply {
  /** When to announce again: between one minute and two hours, never before `minIntervalMs`. */
  readonly intervalMs: number
  readonly minIntervalMs?: number | undefined
  /** At most 1000. */
  readonly peers: readonly PeerAddress[]
  readonly seeders?: number | undefined
  readonly leechers?: number | undefined
  /** One character per byte. */
  readonly trackerId?: string | undefined
  /** Our address as the tracker sees it (BEP 24). */
  readonly externalAddress?: string | undefined
  readonly warning?: string | undefined
}

export interface AnnounceCallOptions extends AbortOptions {
  readonly guard: EgressGuard
  /** Bytes of the answer. @defaultValue 1_048_576 (1 MiB) */
  readonly maxBytes?: number | undefined
  /** For all of it. @defaultValue 30_000 */
  readonly timeoutMs?: number | undefined
}

export const DEFAULT_NUM_WANT = 50
export const MAX_REPLY_PEERS = 1000

/**
 * What an announce says is left while the metadata, and with it the length, is unknown: anything but
 * 0, which would make us a seeder.
 */
export const UNKNOWN_LEFT = 16_384

/** Seconds as a tracker gave them, in the bounds that we keep. */
export function boundedIntervalMs(seconds: number): number {
  return Math.min(Math.max(seconds, 60), 7200) * 1000
}

/** A tracker's own words, fit for a log or a page: one line, bounded, without control characters. */
export function trackerText(bytes: Uint8Array): string {
  const text = new TextDecoder().decode(bytes.subarray(0, 1000))
  const cleaned = text.replace(/[\s\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Co}\p{Cn}]+/gu, ' ').trim()
  return [...cleaned].slice(0, 200).join('')
}
