/** Lets so many work at once; the others wait in line. */
export class LookupSlots {
  #free: number
  readonly #waiting = new Set<() => void>()

  constructor(count: number) {
    this.#free = count
  }

  /** Resolves with what gives the slot back; rejects with `signal.reason`. */
  async take(signal: AbortSignal): Promise<() => void> {
    signal.throwIfAborted()
    if (this.#free > 0) this.#free--
    else await this.#turn(signal)
    let held = true
    return () => {
      if (held) this.#release()
      held = false
    }
  }

  #turn(signal: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      const leave = () => {
        this.#waiting.delete(next)
        signal.removeEventListener('abort', onAbort)
      }
      const next = () => {
        leave()
        resolve()
      }
      const onAbort = () => {
        leave()
        reject(signal.reason)
      }
      this.#waiting.add(next)
      signal.addEventListener('abort', onAbort, { once: true })
    })
  }

  #release(): void {
    const [next] = this.#waiting
    if (next === undefined) this.#free++
    else next()
  }
}
