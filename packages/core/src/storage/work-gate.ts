import { IsthmusError } from '../errors.ts'
import type { AbortOptions } from '../signal.ts'

/** Lets work on one torrent in until it is closed; closing waits for the work that is inside. */
export class WorkGate {
  #inside = 0
  #closed = false
  #whenEmpty: (() => void) | undefined
  #empty: Promise<void> | undefined

  get isClosed(): boolean {
    return this.#closed
  }

  /** Rejects with `ISTHMUS_STORAGE_CLOSED` after `close`, and with `signal.reason` where it aborted before the work began. */
  async enter<T>(options: AbortOptions, work: () => Promise<T>): Promise<T> {
    if (this.#closed) {
      throw new IsthmusError('ISTHMUS_STORAGE_CLOSED', 'this torrent was closed in the storage')
    }
    options.signal?.throwIfAborted()
    this.#inside++
    try {
      return await work()
    } finally {
      if (--this.#inside === 0) this.#whenEmpty?.()
    }
  }

  close(): Promise<void> {
    this.#closed = true
    this.#empty ??=
      this.#inside === 0
        ? Promise.resolve()
        : new Promise((resolve) => {
            this.#whenEmpty = resolve
          })
    return this.#empty
  }
}
