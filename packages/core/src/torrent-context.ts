import type { Discovery } from './discovery/discovery.ts'
import type { Hasher } from './hash/hasher.ts'
import type { Limits } from './limits.ts'
import type { EgressGuard } from './net/egress-guard.ts'
import type { PieceCache } from './storage/piece-cache.ts'
import type { ConnectionLimits } from './swarm/connection-limits.ts'
import type { MemoryBudget } from './swarm/memory-budget.ts'

/** What all torrents of a client share. */
export interface TorrentContext {
  readonly limits: Limits
  readonly peerId: Uint8Array
  readonly hasher: Hasher
  readonly cache: PieceCache
  readonly budget: MemoryBudget
  readonly connections: ConnectionLimits
  readonly guard: EgressGuard
  /** Sources of peers beside the trackers. */
  readonly discovery: readonly Discovery[]
  /** Whether trackers are asked at all. */
  readonly trackers: boolean
  /** Where peers reach us; undefined while we do not listen. */
  readonly port: () => number | undefined
  readonly random: () => number
}
