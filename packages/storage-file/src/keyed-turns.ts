/** For each key one piece of work at a time, in the order of asking. */
export class KeyedTurns<K> {
  readonly #last = new Map<K, Promise<unknown>>()

  take<T>(key: K, work: () => Promise<T>): Promise<T> {
    const turn = (this.#last.get(key) ?? Promise.resolve()).then(work)
    const settled = turn
      .catch(() => {})
      .finally(() => {
        if (this.#last.get(key) === settled) this.#last.delete(key)
      })
    this.#last.set(key, settled)
    return turn
  }

  /** Fulfils once all work asked for so far is done; undefined where there is none. */
  settled(key: K): Promise<unknown> | undefined {
    return this.#last.get(key)
  }
}
