import type { PieceBlocks } from './piece-blocks.ts'

/** How far ahead of a reader pieces are wanted. */
export interface SimulatedReadahead {
  bytes(maxBytes: number): number
  read(bytes: number): void
}

/** Finds out who lied. */
export interface SimulatedSuspects<P> {
  readonly pieces: readonly number[]
  failures(piece: number): number
  failed(blocks: PieceBlocks<P>, bytes: Uint8Array): P | undefined
  isSuspect(piece: number): boolean
  resolved(piece: number, bytes: Uint8Array): Set<P>
}

/** Memory of started pieces. */
export interface SimulatedBudget {
  take(bytes: number, retry: () => void): boolean
  give(bytes: number): void
  join(reclaim: () => void): void
}

/** What a simulated swarm consists of beside the picker: parts of later stations, passed in. */
export interface SwarmParts<P> {
  createReadahead(pieceLength: number): SimulatedReadahead
  createSuspects(): SimulatedSuspects<P>
  createBudget(maxBytes: number): SimulatedBudget
}
