import { LRUCache } from 'lru-cache'
import { recyclePieceBuffer } from './buffer-pool.ts'

/**
 * Verified pieces, least recently used out first: one per client, in front of every storage whose
 * reads cost I/O or a hash. What it hands out stays its own: callers copy before they wait for
 * anything else.
 */
export class PieceCache {
  readonly #pieces: LRUCache<string, Uint8Array>
  /** Also looked at by a storage that writes them. */
  readonly #lent = new Set<Uint8Array>()

  constructor(maxBytes: number) {
    this.#pieces = new LRUCache({
      maxSize: maxBytes,
      sizeCalculation: (bytes) => bytes.byteLength,
      dispose: (bytes) => this.#letGo(bytes),
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

  /** Takes over `bytes`, which `use` looks at until it settles; they may be in the cache meanwhile, and after. */
  async lend<T>(
    owner: number,
    piece: number,
    bytes: Uint8Array,
    use: () => Promise<T>,
  ): Promise<T> {
    this.#lent.add(bytes)
    try {
      return await use()
    } finally {
      this.#lent.delete(bytes)
      if (this.#pieces.peek(keyOf(owner, piece)) !== bytes) this.#letGo(bytes)
    }
  }

  delete(owner: number, piece: number): void {
    this.#pieces.delete(keyOf(owner, piece))
  }

  deleteAll(owner: number, pieceCount: number): void {
    if (this.#pieces.size === 0) return
    for (let piece = 0; piece < pieceCount; piece++) this.delete(owner, piece)
  }

  #letGo(bytes: Uint8Array): void {
    if (this.#lent.has(bytes)) return
    // Who was just handed them copies in this turn of the event loop.
    setImmediate(() => recyclePieceBuffer(bytes))
  }
}

function keyOf(owner: number, piece: number): string {
  return `${owner}/${piece}`
}
