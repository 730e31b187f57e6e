import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process'
import { once } from 'node:events'

export interface ChildOptions {
  readonly cwd?: string | undefined
  readonly env?: NodeJS.ProcessEnv | undefined
}

const running = new Set<ChildProcessWithoutNullStreams>()
process.on('exit', () => {
  for (const child of running) child.kill('SIGKILL')
})

/** A program that a test started: its lines can be waited for, and it is ended by its own id. */
export class Child {
  readonly #process: ChildProcessWithoutNullStreams
  readonly #command: string
  readonly #lines: string[] = []
  readonly #listeners = new Set<() => void>()
  readonly #closed: Promise<void>
  #failure: Error | undefined

  constructor(command: string, args: readonly string[], options: ChildOptions = {}) {
    this.#command = [command, ...args].join(' ')
    this.#process = spawn(command, args, { ...options, stdio: 'pipe' })
    running.add(this.#process)
    this.#process.on('error', (error) => {
      this.#failure = error
    })
    this.#process.stdin.on('error', () => {}) // it may be gone before we are done writing
    for (const stream of [this.#process.stdout, this.#process.stderr]) this.#collect(stream)
    this.#closed = once(this.#process, 'close').then(
      () => {},
      () => {},
    )
    void this.#closed.then(() => {
      running.delete(this.#process)
      this.#notify()
    })
  }

  /** Resolves once `ready` has made something of it; ends it where that fails. */
  static async start<T>(
    command: string,
    args: readonly string[],
    ready: (child: Child) => Promise<T>,
    options?: ChildOptions,
  ): Promise<T> {
    const child = new Child(command, args, options)
    try {
      return await ready(child)
    } catch (error) {
      await child.stop()
      throw error
    }
  }

  get pid(): number {
    return this.#process.pid ?? -1
  }

  /** Exit code, or undefined while it runs or where a signal ended it. */
  get exitCode(): number | undefined {
    return this.#process.exitCode ?? undefined
  }

  get isRunning(): boolean {
    return running.has(this.#process)
  }

  /** Everything that it printed so far, on both streams. */
  get output(): string {
    return this.#lines.join('\n')
  }

  /** The first line, printed already or yet to come, that matches; rejects where it ends before that. */
  line(pattern: RegExp, timeoutMs = 30_000): Promise<RegExpMatchArray> {
    return new Promise((resolve, reject) => {
      const finish = (settle: () => void) => {
        clearTimeout(timer)
        this.#listeners.delete(look)
        settle()
      }
      const fail = (why: string) =>
        finish(() =>
          reject(new Error(`${this.#command}: ${why} before ${pattern}\n${this.output}`)),
        )
      const look = () => {
        for (const line of this.#lines) {
          const match = line.match(pattern)
          if (match !== null) return finish(() => resolve(match))
        }
        if (!this.isRunning) fail(this.#failure?.message ?? `ended with ${this.exitCode}`)
      }
      const timer = setTimeout(() => fail(`${timeoutMs} ms passed`), timeoutMs)
      this.#listeners.add(look)
      look()
    })
  }

  writeLine(text: string): void {
    this.#process.stdin.write(`${text}\n`)
  }

  /** Resolves with the exit code once it has ended by itself. */
  async ended(): Promise<number | undefined> {
    await this.#closed
    return this.exitCode
  }

  /** Resolves with the exit code once it has ended; it has `graceMs` before it is killed. */
  async stop(signal: NodeJS.Signals = 'SIGTERM', graceMs = 10_000): Promise<number | undefined> {
    if (this.isRunning) {
      this.#process.kill(signal)
      this.#process.stdin.end()
      const timer = setTimeout(() => this.#process.kill('SIGKILL'), graceMs)
      await this.#closed
      clearTimeout(timer)
    }
    return this.exitCode
  }

  #collect(stream: NodeJS.ReadableStream): void {
    let rest = ''
    stream.setEncoding('utf8').on('data', (text: string) => {
      const lines = (rest + text).split(/\r?\n|\r/)
      rest = lines.pop() ?? ''
      this.#lines.push(...lines)
      this.#notify()
    })
    stream.on('end', () => {
      if (rest !== '') this.#lines.push(rest)
    })
  }

  #notify(): void {
    for (const listener of [...this.#listeners]) listener()
  }
}
