import { Bitfield, type WrittenBytes } from '@isthmus/core'
import type { Recovered } from './recovery.ts'
import type { StateFile } from './state-file.ts'
import type { TorrentFiles } from './torrent-files.ts'
import type { FileMark } from './torrent-state.ts'
import type { Turns } from './turns.ts'

export interface CheckpointsOptions {
  readonly files: Pick<TorrentFiles, 'sync' | 'syncNames'>
  readonly stateFile: Pick<StateFile, 'save'>
  readonly written: WrittenBytes
  readonly recovered: Recovered
  /** Whether the state file tells of a clean stop, or there is nothing to tell. */
  readonly clean: boolean
  readonly intervalMs: number
  /** Shared by all torrents: syncing holds a thread, and the threads are everybody's. */
  readonly turns: Turns
}

/**
 * Which pieces are verified, and which of those would still be after a power cut. A checkpoint puts
 * the data on the medium first and then says so in the state file, in batches.
 */
export class Checkpoints {
  readonly #files: CheckpointsOptions['files']
  readonly #stateFile: CheckpointsOptions['stateFile']
  readonly #written: WrittenBytes
  readonly #intervalMs: number
  readonly #turns: Turns
  readonly #marks: (FileMark | undefined)[]
  readonly #verified: Bitfield
  #synced: Bitfield
  /** Files with bytes that no checkpoint covers yet. */
  #unsynced = new Set<number>()
  #clean: boolean
  /** Whether the state file is behind. */
  #stale = false
  #failure: unknown
  #timer: NodeJS.Timeout | undefined
  #running: Promise<void> | undefined
  #closed = false

  constructor(options: CheckpointsOptions) {
    this.#files = options.files
    this.#stateFile = options.stateFile
    this.#written = options.written
    this.#intervalMs = options.intervalMs
    this.#turns = options.turns
    this.#marks = options.recovered.marks
    this.#verified = options.recovered.verified
    this.#synced = options.recovered.verified.copy()
    this.#clean = options.clean
  }

  /** What was verified, and synced since. Not a copy. */
  get synced(): Bitfield {
    return this.#synced
  }

  /**
   * Throws what made a sync of data fail: the system may have dropped what it could not write, so
   * from then on nothing more is taken.
   */
  assertWorking(): void {
    if (this.#failure !== undefined) throw this.#failure
  }

  /** Bytes of the file were written. To be called after the write. */
  wrote(file: number): void {
    this.#unsynced.add(file)
  }

  verify(piece: number, files: Iterable<number>): void {
    if (!this.#verified.set(piece)) return
    for (const file of files) this.#unsynced.add(file)
    this.#change()
  }

  unverify(piece: number): void {
    if (!this.#verified.clear(piece)) return
    this.#synced.clear(piece)
    this.#change()
  }

  /** The last checkpoint, where there is anything to say. Rejects where that fails. */
  async close(): Promise<void> {
    await this.stop()
    this.assertWorking()
    const upToDate = this.#clean && !this.#stale && this.#unsynced.size === 0
    if (!upToDate) await this.#turns.take(() => this.#save(true))
  }

  /** Ends the regular checkpoints, and waits for one under way. */
  async stop(): Promise<void> {
    this.#closed = true
    clearTimeout(this.#timer)
    await this.#running
  }

  #change(): void {
    this.#stale = true
    this.#schedule(this.#intervalMs)
  }

  #schedule(delayMs: number): void {
    if (this.#timer !== undefined || this.#running !== undefined || this.#closed) return
    this.#timer = setTimeout(() => {
      this.#timer = undefined
      this.#running = this.#saveInTurn()
    }, delayMs)
    this.#timer.unref()
  }

  async #saveInTurn(): Promise<void> {
    let tookMs = 0
    await this.#turns
      .take(async () => {
        const start = performance.now()
        await this.#save(false).finally(() => {
          tookMs = performance.now() - start
        })
      })
      // The next checkpoint tries again, and `close` says so where that fails too.
      .catch(() => {})
    this.#running = undefined
    // A slow medium has something better to do than syncing all the time.
    if (this.#stale && this.#failure === undefined) {
      this.#schedule(Math.max(this.#intervalMs, 2 * tookMs))
    }
  }

  async #save(clean: boolean): Promise<void> {
    const present = this.#written.present.copy()
    const before = this.#verified.copy()
    const files = this.#unsynced
    this.#unsynced = new Set()
    this.#stale = false
    try {
      await this.#syncFiles(files)
      await this.#files.syncNames()
      // A piece that is written to again from here on changes the mark of its file.
      const verified = intersection(before, this.#verified)
      await this.#stateFile.save({ present, verified, marks: this.#marks, clean })
      this.#synced = intersection(verified, this.#verified)
      this.#clean = clean
    } catch (error) {
      for (const file of files) this.#unsynced.add(file)
      this.#stale = true
      throw error
    }
  }

  async #syncFiles(files: Iterable<number>): Promise<void> {
    try {
      for (const file of files) this.#marks[file] = await this.#files.sync(file)
    } catch (error) {
      this.#failure = error
      throw error
    }
  }
}

function intersection(one: Bitfield, other: Bitfield): Bitfield {
  const bytes = one.bytes.map((byte, index) => byte & (other.bytes[index] ?? 0))
  return Bitfield.from(bytes, one.length) ?? new Bitfield(one.length)
}
