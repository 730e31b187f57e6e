import { close } from 'node:fs'

export interface OpenFilesOptions {
  /** Descriptors to hold at a time. Whoever needs one more waits until one is free. */
  readonly maxOpenFiles: number
}

interface OpenFile {
  fd: number
  users: number
  /** Closed as soon as nobody uses it. */
  leaving: boolean
  readonly opened: Promise<unknown>
}

const OUT_OF_DESCRIPTORS = new Set(['EMFILE', 'ENFILE'])

/**
 * A bounded number of file descriptors, the least recently used closed first, never one in use. One
 * `use` must not wait for another within it: at the bound, each would wait for the other.
 */
export class OpenFiles {
  readonly #maxOpenFiles: number
  /** The least recently used first. */
  readonly #files = new Map<object, OpenFile>()
  readonly #closing = new Set<Promise<void>>()
  #waiting: (() => void)[] = []

  constructor(options: OpenFilesOptions) {
    const { maxOpenFiles } = options
    if (!Number.isSafeInteger(maxOpenFiles) || maxOpenFiles <= 0) {
      throw new RangeError(`maxOpenFiles must be a positive integer, not ${maxOpenFiles}`)
    }
    this.#maxOpenFiles = maxOpenFiles
  }

  /** Descriptors that are open, or being opened. */
  get size(): number {
    return this.#files.size
  }

  has(key: object): boolean {
    return this.#files.has(key)
  }

  /**
   * Does `work` with the descriptor that is known by `key`, from `open` where there is none. It stays
   * open until `work` settles at least, and is closed by us alone.
   */
  async use<T>(
    key: object,
    open: () => Promise<number>,
    work: (fd: number) => Promise<T>,
  ): Promise<T> {
    const file = await this.#acquire(key, open)
    try {
      return await work(file.fd)
    } finally {
      this.#release(key, file)
    }
  }

  /** Closes the descriptors known by `keys`: now where idle, else after their use. Resolves once the idle ones are closed. */
  async close(keys: Iterable<object>): Promise<void> {
    for (const key of keys) {
      const file = this.#files.get(key)
      if (file === undefined) continue
      if (file.users === 0) this.#drop(key, file)
      else file.leaving = true
    }
    await Promise.all(this.#closing)
  }

  async #acquire(key: object, open: () => Promise<number>): Promise<OpenFile> {
    for (;;) {
      const known = this.#files.get(key)
      if (known !== undefined && !known.leaving) {
        known.users++
        if (known.users === 1) {
          this.#files.delete(key)
          this.#files.set(key, known)
        }
        try {
          if (known.fd === -1) await known.opened
          return known
        } catch (error) {
          known.users--
          throw error
        }
      }
      if (known === undefined && (this.#files.size < this.#maxOpenFiles || this.#dropIdle(1) > 0)) {
        return await this.#open(key, open)
      }
      await this.#change()
    }
  }

  async #open(key: object, open: () => Promise<number>): Promise<OpenFile> {
    const opened = this.#openPatiently(open)
    const file: OpenFile = { fd: -1, users: 1, leaving: false, opened }
    this.#files.set(key, file)
    try {
      file.fd = await opened
      return file
    } catch (error) {
      this.#files.delete(key)
      this.#wake()
      throw error
    }
  }

  /** Where the process has no descriptor left, gives some of ours back, and tries again. */
  async #openPatiently(open: () => Promise<number>): Promise<number> {
    for (;;) {
      try {
        return await open()
      } catch (error) {
        if (!OUT_OF_DESCRIPTORS.has((error as NodeJS.ErrnoException).code ?? '')) throw error
        if (this.#dropIdle(16) > 0) await Promise.all(this.#closing)
        else if (this.#anyOpen()) await this.#change()
        else throw error
      }
    }
  }

  #release(key: object, file: OpenFile): void {
    file.users--
    if (file.users > 0) return
    if (file.leaving) this.#drop(key, file)
    else if (this.#waiting.length > 0) this.#wake()
  }

  /** @returns how many it closed. */
  #dropIdle(count: number): number {
    let dropped = 0
    for (const [key, file] of this.#files) {
      if (dropped === count) break
      if (file.users > 0) continue
      this.#drop(key, file)
      dropped++
    }
    return dropped
  }

  #drop(key: object, file: OpenFile): void {
    this.#files.delete(key)
    // A failed close leaves nothing to do: the descriptor is gone either way (close(2)).
    const closing = new Promise<void>((resolve) => close(file.fd, () => resolve())).then(() => {
      this.#closing.delete(closing)
    })
    this.#closing.add(closing)
    this.#wake()
  }

  #anyOpen(): boolean {
    for (const file of this.#files.values()) if (file.fd !== -1) return true
    return false
  }

  /** Resolves when a file became idle or left. */
  #change(): Promise<void> {
    return new Promise((resolve) => this.#waiting.push(resolve))
  }

  #wake(): void {
    const waiting = this.#waiting
    this.#waiting = []
    for (const resolve of waiting) resolve()
  }
}
