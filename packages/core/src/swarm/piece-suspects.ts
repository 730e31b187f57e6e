import { createHash } from 'node:crypto'
import { BLOCK_LENGTH } from '../metainfo/layout.ts'
import type { PieceBlocks } from '../picker/piece-blocks.ts'

interface Attempt<P> {
  readonly senders: readonly (P | undefined)[]
  readonly digests: readonly string[]
}

/**
 * Finds out who lied when a piece failed its hash: alone, the sender did; together, whoever sent
 * other bytes than those that turned out right.
 */
export class PieceSuspects<P> {
  readonly #attempts = new Map<number, Attempt<P>[]>()

  /** How often the piece failed. */
  failures(piece: number): number {
    return this.#attempts.get(piece)?.length ?? 0
  }

  /** Pieces that failed, and did not come right since. */
  get pieces(): readonly number[] {
    return [...this.#attempts.keys()]
  }

  /** The piece was wrong. @returns the liar, where one is certain. */
  failed(blocks: PieceBlocks<P>, bytes: Uint8Array): P | undefined {
    const contributors = [...blocks.contributors]
    const senders = Array.from({ length: blocks.blockCount }, (_, block) => blocks.senderOf(block))
    const attempts = this.#attempts.get(blocks.piece) ?? []
    attempts.push({ senders, digests: digestsOf(bytes) })
    this.#attempts.set(blocks.piece, attempts)
    return contributors.length === 1 ? contributors[0] : undefined
  }

  /** Whether what failed before must be compared with the right bytes. */
  isSuspect(piece: number): boolean {
    return this.#attempts.has(piece)
  }

  /** The right bytes are known now. @returns everybody who had sent something else. */
  resolved(piece: number, bytes: Uint8Array): Set<P> {
    const right = digestsOf(bytes)
    const liars = new Set<P>()
    for (const { senders, digests } of this.#attempts.get(piece) ?? []) {
      for (const [block, digest] of digests.entries()) {
        const sender = senders[block]
        if (sender !== undefined && digest !== right[block]) liars.add(sender)
      }
    }
    this.#attempts.delete(piece)
    return liars
  }
}

function digestsOf(bytes: Uint8Array): string[] {
  const digests: string[] = []
  for (let at = 0; at < bytes.length; at += BLOCK_LENGTH) {
    digests.push(
      createHash('sha1')
        .update(bytes.subarray(at, at + BLOCK_LENGTH))
        .digest('base64'),
    )
  }
  return digests
}
