/**
 * Buffers of whole pieces, used again: memory fresh from the system is faulted in page by page, which
 * costs a stream about a tenth of its CPU time. Only the owner of a buffer may give it back.
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
    if (bytes === undefined) return new Uint8Array(Buffer.allocUnsafeSlow(length).buffer)
    this.#freeBytes -= length
    return bytes
  }

  /** Takes over `bytes`, which nobody may look at any more. A view of something larger is left alone. */
  give(bytes: Uint8Array): void {
    const { byteLength } = bytes
    if (byteLength === 0 || byteLength !== bytes.buffer.byteLength) return
    if (this.#freeBytes + byteLength > this.#maxBytes) return
    this.#freeBytes += byteLength
    const list = this.#free.get(byteLength)
    if (list === undefined) this.#free.set(byteLength, [bytes])
    else list.push(bytes)
  }
}

// Enough for what a hash thread and a file write hold at a time; more would only be memory.
const POOL_BYTES = 16 * 1024 * 1024

const pieceBuffers = new BufferPool(POOL_BYTES)

/** A buffer for one piece, of any content. */
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
