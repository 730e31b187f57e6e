import type { ByteRange, ByteSource, ReadOptions } from '@isthmus/core'

/** Several ranges of one source as `multipart/byteranges` (RFC 9110 §14.6). */
export class MultipartRanges {
  readonly contentType: string
  /** Bytes of the whole body. */
  readonly length: number
  readonly #source: ByteSource
  readonly #parts: readonly { readonly head: Uint8Array; readonly range: ByteRange }[]
  readonly #tail: Uint8Array

  /** `boundary` must not occur in the source: a random one will do. */
  constructor(
    source: ByteSource,
    ranges: readonly ByteRange[],
    options: { type: string; boundary: string },
  ) {
    const { type, boundary } = options
    const encoder = new TextEncoder()
    this.contentType = `multipart/byteranges; boundary=${boundary}`
    this.#source = source
    this.#parts = ranges.map((range, index) => ({
      range,
      head: encoder.encode(
        `${index === 0 ? '' : '\r\n'}--${boundary}\r\ncontent-type: ${type}\r\n` +
          `content-range: ${contentRange(range, source.length)}\r\n\r\n`,
      ),
    }))
    this.#tail = encoder.encode(`\r\n--${boundary}--\r\n`)
    this.length = this.#parts.reduce(
      (sum, { head, range }) => sum + head.length + range.end - range.start,
      this.#tail.length,
    )
  }

  async *read(options: ReadOptions): AsyncGenerator<Uint8Array, void, void> {
    for (const { head, range } of this.#parts) {
      // Not before its first bytes are there: what was yielded first lets the headers go.
      let pending: Uint8Array | undefined = head
      for await (const chunk of this.#source.read(range, options)) {
        if (pending !== undefined) yield pending
        pending = undefined
        yield chunk
      }
    }
    yield this.#tail
  }
}

/** The value of a Content-Range header; its ends are inclusive. */
export function contentRange(range: ByteRange, length: number): string {
  return `bytes ${range.start}-${range.end - 1}/${length}`
}
