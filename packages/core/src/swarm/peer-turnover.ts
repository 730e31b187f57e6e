import type { Peer } from './peer.ts'

/** So long a peer may do nothing before somebody else may have its place. */
const IDLE_MS = 60_000

export interface Replaceable {
  readonly peer: Peer
  readonly priority: number
}

/**
 * Of those who are of no use to us or we to them, the one with the lowest priority (BEP 40). Who ever
 * sent us something is of use as long as we want something.
 */
export function leastUseful(
  peers: Iterable<Peer>,
  now: number,
  options: { readonly isComplete: boolean; readonly priorityOf: (peer: Peer) => number },
): Replaceable | undefined {
  let least: Replaceable | undefined
  for (const peer of peers) {
    if (now - peer.openedAt < IDLE_MS || peer.uploadRate.perSecond(now) > 0) continue
    if (!options.isComplete && peer.wire.data.downloaded > 0) continue
    const priority = options.priorityOf(peer)
    if (least === undefined || priority < least.priority) least = { peer, priority }
  }
  return least
}
