/**
 * Buffers of whole pieces, used again: memory fresh from the system is faulted in page by page, and
 * memory that comes and goes makes the collector run (a quarter of a stream's CPU time when it was
 * measured). They are shared memory, so that a hash thread sees them without a copy. Only the owner
 * of a buffer may give it back.
 */
export class BufferPool {
  readonly #maxBytes: number
  readonly #free = new Map<number, Uint8Array[]>()
  #freeBytes = 0

  constructor(maxBytes: number) {
    this.#maxBytes = maxBytes
  }

  /** `length` bytes of any content, with a buffer of their own. */
  take(length: number): Uint8Array {
    const bytes = this.#free.get(length)?.pop()
    if (bytes === undefined) return new Uint8Array(new SharedArrayBuffer(length))
    this.#freeBytes -= length
    return bytes
  }

  /** Takes over `bytes`, which nobody may look at any more. What did not come from here is left alone. */
  give(bytes: Uint8Array): void {
    const { byteLength } = bytes
    if (byteLength === 0 || !isShared(bytes)) return
    if (this.#freeBytes + byteLength > this.#maxBytes) return
    this.#freeBytes += byteLength
    const list = this.#free.get(byteLength)
    if (list === undefined) this.#free.set(byteLength, [bytes])
    else list.push(bytes)
  }
}

/** Whether a hash thread can see these bytes without a copy: all of a piece buffer. */
export function isShared(bytes: Uint8Array): boolean {
  return bytes.buffer instanceof SharedArrayBuffer && bytes.byteLength === bytes.buffer.byteLength
}

// As much as one reader is ahead: what a storage with a capacity throws out comes back within that.
const POOL_BYTES = 32 * 1024 * 1024

const pieceBuffers = new BufferPool(POOL_BYTES)

/** A buffer for one piece, of any content: a view of a `SharedArrayBuffer` of its own. */
export function takePieceBuffer(length: number): Uint8Array {
  return pieceBuffers.take(length)
}

/**
 * For storages: gives bytes that `write` took over back for the next piece, once nothing of the
 * storage looks at them any more. Optional; it saves the system from zeroing fresh memory.
 */
export function recyclePieceBuffer(bytes: Uint8Array): void {
  pieceBuffers.give(bytes)
}
