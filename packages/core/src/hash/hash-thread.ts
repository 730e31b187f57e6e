import { Worker } from 'node:worker_threads'
import { IsthmusError } from '../errors.ts'

interface Job {
  readonly buffer: SharedArrayBuffer
  readonly resolve: (digest: Uint8Array) => void
  readonly reject: (error: Error) => void
}

/** A buffer by its number, and the buffer itself where the thread has not seen it yet. */
type ThreadRequest = readonly [number, SharedArrayBuffer?]

/**
 * One worker thread. It remembers the buffers that it has seen, since they come again and again, and
 * jobs that come while it is busy travel together in one message: many small pieces cost few messages.
 */
export class HashThread {
  readonly #worker: Worker
  readonly #numbers = new WeakMap<SharedArrayBuffer, number>()
  readonly #forgotten = new FinalizationRegistry<number>((number) => this.#gone.push(number))
  #gone: number[] = []
  #seen = 0
  #ready = false
  #queue: Job[] = []
  #sent: Job[][] = []
  #waitingBytes = 0
  #failure: IsthmusError | undefined

  constructor() {
    // Source text, not a file: it survives every bundler, and needs no loader when run from TypeScript.
    // Flags of the program are not for it: `--input-type` would change what the text means.
    this.#worker = new Worker(THREAD_SOURCE, { eval: true, stdin: false, execArgv: [] })
    this.#worker.on('message', (digests: Uint8Array[]) => this.#onDigests(digests))
    this.#worker.on('error', (cause) => this.#fail(cause))
    this.#worker.on('exit', () => this.#fail(undefined))
    // Last: to listen to its messages would hold the process again.
    this.#worker.unref()
  }

  /** It has answered before. */
  get ready(): boolean {
    return this.#ready && this.#failure === undefined
  }

  get waitingBytes(): number {
    return this.#waitingBytes
  }

  sha1(buffer: SharedArrayBuffer): Promise<Uint8Array> {
    return new Promise((resolve, reject) => {
      if (this.#failure !== undefined) return reject(this.#failure)
      this.#waitingBytes += buffer.byteLength
      this.#queue.push({ buffer, resolve, reject })
      this.#worker.ref()
      if (this.#sent.length < MESSAGES_IN_FLIGHT) this.#send()
    })
  }

  async close(): Promise<void> {
    this.#fail(undefined)
    await this.#worker.terminate()
  }

  #send(): void {
    const jobs = this.#queue
    if (jobs.length === 0) return
    this.#queue = []
    this.#sent.push(jobs)
    const gone = this.#gone
    this.#gone = []
    this.#worker.postMessage([jobs.map(({ buffer }) => this.#introduce(buffer)), gone])
  }

  #introduce(buffer: SharedArrayBuffer): ThreadRequest {
    const known = this.#numbers.get(buffer)
    if (known !== undefined) return [known]
    const number = ++this.#seen
    this.#numbers.set(buffer, number)
    this.#forgotten.register(buffer, number)
    return [number, buffer]
  }

  #onDigests(digests: Uint8Array[]): void {
    this.#ready = true
    const jobs = this.#sent.shift() ?? []
    this.#send()
    for (const [index, { buffer, resolve, reject }] of jobs.entries()) {
      this.#waitingBytes -= buffer.byteLength
      const digest = digests[index]
      if (digest === undefined) reject(hashFailed())
      else resolve(digest)
    }
    if (this.#sent.length === 0) this.#worker.unref()
  }

  #fail(cause: unknown): void {
    this.#failure ??= hashFailed(cause)
    const jobs = [...this.#sent.flat(), ...this.#queue]
    this.#sent = []
    this.#queue = []
    for (const job of jobs) job.reject(this.#failure)
  }
}

function hashFailed(cause?: unknown): IsthmusError {
  return new IsthmusError('ISTHMUS_HASH_FAILED', 'the hash thread ended', { cause })
}

// One message being hashed and one waiting, so that the thread never idles between two.
const MESSAGES_IN_FLIGHT = 2

const THREAD_SOURCE = `
const { createHash } = require('node:crypto')
const { parentPort } = require('node:worker_threads')
const buffers = new Map()
parentPort.on('message', ([jobs, gone]) => {
  const digests = jobs.map(([number, buffer]) => {
    if (buffer !== undefined) buffers.set(number, new Uint8Array(buffer))
    return new Uint8Array(createHash('sha1').update(buffers.get(number)).digest())
  })
  for (const number of gone) buffers.delete(number)
  parentPort.postMessage(digests)
})
`
