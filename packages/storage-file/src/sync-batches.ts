import type { Turns } from './turns.ts'

export interface SyncBatchesOptions {
  /** Puts all that is waiting on the medium. What it could not is still waiting when it rejects. */
  readonly sync: () => Promise<void>
  /** The least time between two batches. */
  readonly intervalMs: number
  /** Shared by all who sync: it holds a thread, and the threads are everybody's. */
  readonly turns: Turns
}

/** When to sync: some time after there was reason to, in batches, one at a time. */
export class SyncBatches {
  readonly #options: SyncBatchesOptions
  #timer: NodeJS.Timeout | undefined
  #running: Promise<void> | undefined
  /** Whether something came up while a batch was running. */
  #again = false
  #tookMs = 0

  constructor(options: SyncBatchesOptions) {
    this.#options = options
  }

  /** There is something to sync. */
  schedule(): void {
    if (this.#running !== undefined) this.#again = true
    if (this.#timer !== undefined || this.#running !== undefined) return
    // A slow medium has something better to do than syncing all the time.
    const delayMs = Math.max(this.#options.intervalMs, 2 * this.#tookMs)
    this.#timer = setTimeout(() => {
      this.#timer = undefined
      // The next batch tries again, and `flush` says so where that fails too.
      this.#run().catch(() => this.schedule())
    }, delayMs)
    this.#timer.unref()
  }

  /** Syncs now all that there is. */
  async flush(): Promise<void> {
    clearTimeout(this.#timer)
    this.#timer = undefined
    await this.#running?.catch(() => {})
    clearTimeout(this.#timer)
    this.#timer = undefined
    await this.#run()
  }

  #run(): Promise<void> {
    const running = this.#options.turns
      .take(async () => {
        const start = performance.now()
        await this.#options.sync().finally(() => {
          this.#tookMs = performance.now() - start
        })
      })
      .finally(() => {
        if (this.#running !== running) return
        this.#running = undefined
        if (!this.#again) return
        this.#again = false
        this.schedule()
      })
    this.#running = running
    return running
  }
}
