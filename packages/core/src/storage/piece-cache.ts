import { LRUCache } from 'lru-cache'

/**
 * Verified copies of pieces, least recently used out first: one per client, in front of every storage
 * whose reads cost I/O or a hash. What it hands out stays its own; callers copy before they wait.
 */
export class PieceCache {
  readonly #pieces: LRUCache<string, Uint8Array>

  constructor(maxBytes: number) {
    this.#pieces = new LRUCache({
      maxSize: maxBytes,
      sizeCalculation: (bytes) => bytes.byteLength,
    })
  }

  get heldBytes(): number {
    return this.#pieces.calculatedSize
  }

  get(owner: number, piece: number): Uint8Array | undefined {
    return this.#pieces.get(keyOf(owner, piece))
  }

  /** Takes over `bytes`. Nothing happens where they are larger than the whole cache. */
  put(owner: number, piece: number, bytes: Uint8Array): void {
    if (bytes.byteLength > this.#pieces.maxSize) return
    this.#pieces.set(keyOf(owner, piece), bytes)
  }

  delete(owner: number, piece: number): void {
    this.#pieces.delete(keyOf(owner, piece))
  }

  deleteAll(owner: number, pieceCount: number): void {
    if (this.#pieces.size === 0) return
    for (let piece = 0; piece < pieceCount; piece++) this.delete(owner, piece)
  }
}

function keyOf(owner: number, piece: number): string {
  return `${owner}/${piece}`
}
