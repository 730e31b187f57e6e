/** Something that will happen, unless it is cancelled before. */
export interface ScheduledEvent {
  readonly at: number
  cancel(): void
}

interface Entry extends ScheduledEvent {
  readonly order: number
  run: (() => void) | undefined
}

/** Time that passes only from event to event. What is due at the same time happens in the order of scheduling. */
export class VirtualClock {
  #now = 0
  #order = 0
  #happened = 0
  /** A binary heap: the entry due first is the first one. */
  readonly #heap: Entry[] = []

  /** In ms since the beginning. */
  get now(): number {
    return this.#now
  }

  /** Events that have happened. */
  get happened(): number {
    return this.#happened
  }

  /** What is scheduled for the past happens now. */
  at(at: number, run: () => void): ScheduledEvent {
    const entry: Entry = {
      at: Math.max(at, this.#now),
      order: this.#order++,
      run,
      cancel: () => {
        entry.run = undefined
      },
    }
    this.#push(entry)
    return entry
  }

  after(ms: number, run: () => void): ScheduledEvent {
    return this.at(this.#now + ms, run)
  }

  /** Lets the next event happen. @returns false where none is left, or none before `until`. */
  step(until = Number.POSITIVE_INFINITY): boolean {
    for (;;) {
      const first = this.#heap[0]
      if (first === undefined || first.at > until) return false
      this.#removeFirst()
      if (first.run === undefined) continue
      this.#now = first.at
      this.#happened++
      first.run()
      return true
    }
  }

  #push(entry: Entry): void {
    const heap = this.#heap
    let index = heap.length
    heap.push(entry)
    while (index > 0) {
      const parent = (index - 1) >> 1
      if (!isBefore(entry, heap[parent] as Entry)) break
      heap[index] = heap[parent] as Entry
      index = parent
    }
    heap[index] = entry
  }

  #removeFirst(): void {
    const heap = this.#heap
    const last = heap.pop() as Entry
    if (heap.length === 0) return
    let index = 0
    for (;;) {
      let child = 2 * index + 1
      if (child >= heap.length) break
      if (child + 1 < heap.length && isBefore(heap[child + 1] as Entry, heap[child] as Entry))
        child++
      if (!isBefore(heap[child] as Entry, last)) break
      heap[index] = heap[child] as Entry
      index = child
    }
    heap[index] = last
  }
}

function isBefore(one: Entry, other: Entry): boolean {
  return one.at < other.at || (one.at === other.at && one.order < other.order)
}
