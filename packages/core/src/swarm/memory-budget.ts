/**
 * Bytes of started pieces that are held in memory, over all torrents of a client. Who gets nothing is
 * called when some is free again.
 */
export class MemoryBudget {
  readonly maxBytes: number
  #heldBytes = 0
  readonly #waiting = new Set<() => void>()
  readonly #reclaimers = new Set<() => void>()

  constructor(maxBytes: number) {
    this.maxBytes = maxBytes
  }

  get heldBytes(): number {
    return this.#heldBytes
  }

  /** More than everything is admitted alone. `retry` is called once, when asking again makes sense. */
  take(bytes: number, retry: () => void): boolean {
    if (this.#isTooMuch(bytes)) for (const reclaim of this.#reclaimers) reclaim()
    if (this.#isTooMuch(bytes)) {
      this.#waiting.add(retry)
      return false
    }
    this.#heldBytes += bytes
    return true
  }

  give(bytes: number): void {
    this.#heldBytes -= bytes
    if (this.#waiting.size === 0) return
    const waiting = [...this.#waiting]
    this.#waiting.clear()
    for (const retry of waiting) retry()
  }

  /** `reclaim` gives back what nobody needs at present; it is called when memory is short. */
  join(reclaim: () => void): void {
    this.#reclaimers.add(reclaim)
  }

  leave(reclaim: () => void, retry: () => void): void {
    this.#reclaimers.delete(reclaim)
    this.#waiting.delete(retry)
  }

  #isTooMuch(bytes: number): boolean {
    return this.#heldBytes > 0 && this.#heldBytes + bytes > this.maxBytes
  }
}
