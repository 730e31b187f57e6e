import { webcrypto } from 'node:crypto'
import { availableParallelism } from 'node:os'
import { IsthmusError } from '../errors.ts'
import { HashThread } from './hash-thread.ts'

export interface HasherOptions {
  /** Threads at most; they start with the work. @defaultValue the cores less one, 1 to 4 */
  readonly threads?: number | undefined
}

/** Hashes off the main thread. Bytes of a `SharedArrayBuffer` of their own are hashed where they are, others are copied. */
export class Hasher implements AsyncDisposable {
  readonly #limit: number
  readonly #threads: HashThread[] = []
  #closed = false

  constructor({
    threads = Math.min(4, Math.max(1, availableParallelism() - 1)),
  }: HasherOptions = {}) {
    this.#limit = threads
  }

  /** Starts the first thread and lets it hash once, so that the first piece need not wait for it. */
  warm(): void {
    if (this.#threads.length > 0 || this.#closed) return
    const thread = new HashThread()
    this.#threads.push(thread)
    // Rejects only where the hasher is closed before.
    thread.sha1(new SharedArrayBuffer(1)).catch(() => {})
  }

  /**
   * SHA-1 of one piece (BEP 3). The bytes must not change until it resolves. Rejects with
   * `ISTHMUS_HASH_FAILED` when the hasher is closed.
   */
  async sha1(bytes: Uint8Array): Promise<Uint8Array> {
    if (this.#closed) throw closedError()
    const { buffer } = bytes
    const shared = buffer instanceof SharedArrayBuffer && bytes.byteLength === buffer.byteLength
    const thread = shared ? this.#choose() : undefined
    if (shared && thread?.ready) return thread.sha1(buffer)
    // Starting a thread takes longer than hashing a first piece in libuv's pool.
    const digest = await webcrypto.subtle.digest('SHA-1', plain(bytes))
    if (this.#closed) throw closedError()
    return new Uint8Array(digest)
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

function closedError(): IsthmusError {
  return new IsthmusError('ISTHMUS_HASH_FAILED', 'the hasher is closed')
}

/** WebCrypto takes no shared memory. */
function plain(bytes: Uint8Array): Uint8Array<ArrayBuffer> {
  return bytes.buffer instanceof ArrayBuffer ? (bytes as Uint8Array<ArrayBuffer>) : bytes.slice()
}
