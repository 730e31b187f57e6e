import { Socket } from 'node:net'

/** A socket without a network: every write to the system is kept, and can be held back. */
export class CapturedSocket extends Socket {
  /** One for each write that the system would have seen. */
  readonly writes: Buffer[] = []
  #held: (() => void)[] | undefined

  get bytes(): Buffer {
    return Buffer.concat(this.writes)
  }

  /** From now on the system takes nothing. */
  hold(): void {
    this.#held ??= []
  }

  /** What was held goes on, and so does what comes later. */
  release(): void {
    const held = this.#held ?? []
    this.#held = undefined
    for (const done of held) done()
  }

  override _write(chunk: Uint8Array, _encoding: string, callback: () => void): void {
    this.#take([chunk], callback)
  }

  override _writev(chunks: readonly { readonly chunk: Uint8Array }[], callback: () => void): void {
    this.#take(
      chunks.map(({ chunk }) => chunk),
      callback,
    )
  }

  #take(chunks: readonly Uint8Array[], callback: () => void): void {
    this.writes.push(Buffer.concat(chunks))
    if (this.#held === undefined) callback()
    else this.#held.push(callback)
  }
}
