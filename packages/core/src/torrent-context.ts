import type { Discovery, PeerAddress } from './discovery/discovery.ts'
import type { Hasher } from './hash/hasher.ts'
import type { Limits } from './limits.ts'
import type { EgressGuard } from './net/egress-guard.ts'
import type { SeedingChoice } from './picker/choker.ts'
import type { PieceCache } from './storage/piece-cache.ts'
import type { ConnectionLimits } from './swarm/connection-limits.ts'
import type { MemoryBudget } from './swarm/memory-budget.ts'
import type { OwnAddress } from './swarm/own-address.ts'
import type { SharedRates } from './swarm/rates.ts'
import type { ObfuscationSettings } from './wire/obfuscation-policy.ts'

/** What all torrents of a client share. */
export interface TorrentContext {
  readonly limits: Limits
  readonly peerId: Uint8Array
  readonly hasher: Hasher
  readonly cache: PieceCache
  readonly budget: MemoryBudget
  readonly connections: ConnectionLimits
  readonly guard: EgressGuard
  readonly ownAddress: OwnAddress
  readonly rates: SharedRates
  readonly seedingChoice?: SeedingChoice | undefined
  /** Sources of peers beside the trackers. */
  readonly discovery: readonly Discovery[]
  /** Sources whose peers are neighbours, so that the address policy does not concern them. */
  readonly localDiscovery: readonly Discovery[]
  /** Where the DHT hears us (BEP 5), told to peers; undefined while it does not. */
  readonly dhtPort: () => number | undefined
  /** A peer takes part in the DHT there. */
  readonly onDhtNode: (node: PeerAddress) => void
  /** Whether trackers are asked at all. */
  readonly trackers: boolean
  /** Where peers reach us; undefined while we do not listen. */
  readonly port: () => number | undefined
  /** How connections are hidden (MSE). */
  readonly obfuscation: ObfuscationSettings
  readonly random: () => number
}
