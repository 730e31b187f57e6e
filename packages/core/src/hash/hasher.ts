import { webcrypto } from 'node:crypto'
import { availableParallelism } from 'node:os'
import { IsthmusError } from '../errors.ts'
import { HashThread } from './hash-thread.ts'

export interface HasherOptions {
  /** Threads at most; they start with the work. @defaultValue the cores less one, 1 to 4 */
  readonly threads?: number | undefined
}

export interface HashResult {
  readonly digest: Uint8Array
  /** The bytes that were hashed, handed back: the caller's own again. */
  readonly bytes: Uint8Array
}

/**
 * Hashes off the main thread. `bytes` are moved, not copied: the view that was handed in is empty from
 * the call on, and the result carries a fresh view of the same memory.
 */
export class Hasher implements AsyncDisposable {
  readonly #limit: number
  readonly #threads: HashThread[] = []
  #closed = false

  constructor({ threads = Math.min(4, Math.max(1, availableParallelism() - 1)) }: HasherOptions = {}) {
    this.#limit = threads
  }

  /** Starts the first thread, so that the first piece need not wait for it. */
  warm(): void {
    if (this.#threads.length === 0 && !this.#closed) this.#threads.push(new HashThread())
  }

  /** SHA-1 of one piece (BEP 3). Rejects with `ISTHMUS_HASH_FAILED` when the hasher is closed. */
  async sha1(bytes: Uint8Array): Promise<HashResult> {
    if (this.#closed) throw new IsthmusError('ISTHMUS_HASH_FAILED', 'the hasher is closed')
    const thread = this.#choose()
    // Starting a thread takes longer than hashing a piece in libuv's pool; transfer also needs the whole buffer.
    if (!thread.ready || bytes.byteLength !== bytes.buffer.byteLength) {
      const digest = await webcrypto.subtle.digest('SHA-1', bytes as Uint8Array<ArrayBuffer>)
      return { digest: new Uint8Array(digest), bytes }
    }
    return thread.sha1(bytes)
  }

  /** Waits for nothing: work under way is rejected. */
  async close(): Promise<void> {
    this.#closed = true
    await Promise.all(this.#threads.splice(0).map((thread) => thread.close()))
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }

  #choose(): HashThread {
    this.warm()
    let best = this.#threads[0] as HashThread
    for (const thread of this.#threads) if (thread.waitingBytes < best.waitingBytes) best = thread
    if (best.waitingBytes > BUSY_BYTES && this.#threads.length < this.#limit) {
      this.#threads.push(new HashThread())
    }
    return best
  }
}

// Two pieces of 4 MiB: a second thread costs some megabytes, so one that keeps up stays alone.
const BUSY_BYTES = 8 * 1024 * 1024
