import type { AbortOptions } from '../signal.ts'
import type { StorageCapacity } from './storage.ts'

interface Waiting {
  readonly bytes: number
  readonly admit: () => void
}

/** Bytes that may be held at a time. Whoever waits is admitted in the order of asking, however little it asks for. */
export class ByteCapacity implements StorageCapacity {
  readonly maxBytes: number
  #reservedBytes = 0
  readonly #waiting = new Set<Waiting>()

  /** @throws RangeError unless `maxBytes` is a positive integer. */
  constructor(maxBytes: number) {
    if (!Number.isSafeInteger(maxBytes) || maxBytes <= 0) {
      throw new RangeError(`a capacity must be a positive integer of bytes, not ${maxBytes}`)
    }
    this.maxBytes = maxBytes
  }

  /** Bytes that are reserved now. More than `maxBytes` only while one such reservation is held alone. */
  get reservedBytes(): number {
    return this.#reservedBytes
  }

  async reserve(bytes: number, options: AbortOptions = {}): Promise<Disposable> {
    if (!Number.isSafeInteger(bytes) || bytes < 0) {
      throw new RangeError(`bytes to reserve must be a non-negative integer, not ${bytes}`)
    }
    const { signal } = options
    signal?.throwIfAborted()
    if (this.#waiting.size === 0 && this.#fits(bytes)) return this.#take(bytes)
    return new Promise((resolve, reject) => {
      const onAbort = () => {
        this.#waiting.delete(waiting)
        reject(signal?.reason)
        // The one that left may have been too large for the room that others behind it fit in.
        this.#admit()
      }
      const waiting: Waiting = {
        bytes,
        admit: () => {
          signal?.removeEventListener('abort', onAbort)
          resolve(this.#take(bytes))
        },
      }
      this.#waiting.add(waiting)
      signal?.addEventListener('abort', onAbort, { once: true })
    })
  }

  #fits(bytes: number): boolean {
    return this.#reservedBytes === 0 || this.#reservedBytes + bytes <= this.maxBytes
  }

  #take(bytes: number): Disposable {
    this.#reservedBytes += bytes
    let held = true
    return {
      [Symbol.dispose]: () => {
        if (!held) return
        held = false
        this.#reservedBytes -= bytes
        this.#admit()
      },
    }
  }

  #admit(): void {
    for (const waiting of this.#waiting) {
      if (!this.#fits(waiting.bytes)) return
      this.#waiting.delete(waiting)
      waiting.admit()
    }
  }
}
