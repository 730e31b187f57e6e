/** Counts connections of all torrents of a client against its limits. */
export class ConnectionLimits {
  readonly #connectedAtMost: number
  readonly #openingAtMost: number
  readonly #waiting = new Set<() => void>()
  #connected = 0
  #opening = 0

  constructor(limits: { readonly clientPeers: number; readonly halfOpen: number }) {
    this.#connectedAtMost = limits.clientPeers
    this.#openingAtMost = limits.halfOpen
  }

  get connected(): number {
    return this.#connected
  }

  /** Whether one more may come in. */
  get hasRoom(): boolean {
    return this.#connected < this.#connectedAtMost
  }

  /** A place for a connection that is being opened; without one, `retry` is called when there may be one. */
  tryOpen(retry: () => void): boolean {
    if (this.hasRoom && this.#opening < this.#openingAtMost) {
      this.#opening++
      this.#connected++
      return true
    }
    this.#waiting.add(retry)
    return false
  }

  /** Its handshake came, or it ended before. */
  opened(): void {
    this.#opening--
    this.#wake()
  }

  accepted(): void {
    this.#connected++
  }

  closed(): void {
    this.#connected--
    this.#wake()
  }

  forget(retry: () => void): void {
    this.#waiting.delete(retry)
  }

  #wake(): void {
    if (this.#waiting.size === 0) return
    const waiting = [...this.#waiting]
    this.#waiting.clear()
    for (const retry of waiting) retry()
  }
}
