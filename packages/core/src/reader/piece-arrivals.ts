import type { Transfer } from '../swarm/transfer.ts'

type Waiter = (error?: unknown) => void

/** Who waits for which piece. */
export class PieceArrivals {
  readonly #waiting = new Map<number, Set<Waiter>>()
  #closed: Error | undefined

  /** Resolves once the piece can be read; rejects with why it never will, or with `signal.reason`. */
  available(piece: number, transfer: Transfer, signal?: AbortSignal): Promise<void> | void {
    if (transfer.store.available.has(piece)) return
    return new Promise((resolve, reject) => {
      const settle = (error?: unknown) => {
        this.#remove(piece, waiter)
        signal?.removeEventListener('abort', onAbort)
        if (error === undefined) resolve()
        else reject(error)
      }
      const waiter: Waiter = (error) => {
        const reason = error ?? this.#closed ?? transfer.poisonOf(piece)
        if (reason !== undefined) settle(reason)
        else if (transfer.store.available.has(piece)) settle()
      }
      const onAbort = () => settle(signal?.reason)
      if (this.#closed !== undefined) return reject(this.#closed)
      if (signal?.aborted) return reject(signal.reason)
      signal?.addEventListener('abort', onAbort, { once: true })
      this.#add(piece, waiter)
      waiter()
    })
  }

  /** Something happened to the piece: those who wait look again. */
  notify(piece: number): void {
    for (const waiter of [...(this.#waiting.get(piece) ?? [])]) waiter()
  }

  /** Everybody who waits, now or later, is told why it is in vain. */
  close(error: Error): void {
    this.#closed = error
    for (const waiters of [...this.#waiting.values()])
      for (const waiter of [...waiters]) waiter(error)
  }

  #add(piece: number, waiter: Waiter): void {
    const waiters = this.#waiting.get(piece)
    if (waiters === undefined) this.#waiting.set(piece, new Set([waiter]))
    else waiters.add(waiter)
  }

  #remove(piece: number, waiter: Waiter): void {
    const waiters = this.#waiting.get(piece)
    if (waiters === undefined) return
    waiters.delete(waiter)
    if (waiters.size === 0) this.#waiting.delete(piece)
  }
}
