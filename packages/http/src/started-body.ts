import { abortable, type Resource } from '@isthmus/core'
import { giveChunk } from './chunk-memory.ts'

/**
 * A body whose first chunk is already there. It is read once. Before disposing of it, abort the
 * signal that the chunks were asked for with: what is under way would be waited for.
 */
export class StartedBody implements Resource {
  readonly length: number
  readonly ranges = false
  readonly #iterator: AsyncIterator<Uint8Array>
  #first: IteratorResult<Uint8Array> | undefined

  private constructor(
    length: number,
    iterator: AsyncIterator<Uint8Array>,
    first: IteratorResult<Uint8Array>,
  ) {
    this.length = length
    this.#iterator = iterator
    this.#first = first
  }

  /**
   * Waits for the first chunk of `chunks`, or rejects with the reason that `signal` aborts with.
   */
  static async start(
    chunks: AsyncIterable<Uint8Array>,
    options: { readonly length: number; readonly signal: AbortSignal },
  ): Promise<StartedBody> {
    const iterator = chunks[Symbol.asyncIterator]()
    try {
      const first = await abortable(iterator.next(), options.signal)
      return new StartedBody(options.length, iterator, first)
    } catch (error) {
      // Not waited for: an iterator that ignores its signal would keep the answer back.
      iterator.return?.().catch(() => {})
      throw error
    }
  }

  read(): AsyncIterable<Uint8Array> {
    const next = (): Promise<IteratorResult<Uint8Array>> => {
      const first = this.#first
      if (first === undefined) return this.#iterator.next()
      this.#first = undefined
      return Promise.resolve(first)
    }
    return { [Symbol.asyncIterator]: () => ({ next }) }
  }

  recycle(chunk: Uint8Array): void {
    giveChunk(chunk)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#first = undefined
    await this.#iterator.return?.()
  }
}
