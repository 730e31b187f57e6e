import { Worker } from 'node:worker_threads'
import { IsthmusError } from '../errors.ts'
import type { HashResult } from './hasher.ts'

interface Job {
  readonly bytes: Uint8Array
  readonly length: number
  readonly resolve: (result: HashResult) => void
  readonly reject: (error: Error) => void
}

/**
 * One worker thread. Jobs that come while it is busy travel together in one message, so that many
 * small pieces cost few messages.
 */
export class HashThread {
  readonly #worker: Worker
  #ready = false
  #queue: Job[] = []
  #sent: Job[][] = []
  #waitingBytes = 0
  #failure: IsthmusError | undefined

  constructor() {
    // Source text, not a file: it survives every bundler, and needs no loader when run from TypeScript.
    this.#worker = new Worker(THREAD_SOURCE, { eval: true, stdin: false })
    this.#worker.unref()
    this.#worker.once('online', () => {
      this.#ready = true
    })
    this.#worker.on('message', (answers: ThreadAnswer[]) => this.#onAnswers(answers))
    this.#worker.on('error', (cause) => this.#fail(cause))
    this.#worker.on('exit', () => this.#fail(undefined))
  }

  get ready(): boolean {
    return this.#ready && this.#failure === undefined
  }

  get waitingBytes(): number {
    return this.#waitingBytes
  }

  sha1(bytes: Uint8Array): Promise<HashResult> {
    return new Promise((resolve, reject) => {
      if (this.#failure !== undefined) return reject(this.#failure)
      this.#waitingBytes += bytes.byteLength
      this.#queue.push({ bytes, length: bytes.byteLength, resolve, reject })
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
    const buffers = jobs.map((job) => job.bytes.buffer as ArrayBuffer)
    this.#worker.postMessage(buffers, buffers)
  }

  #onAnswers(answers: ThreadAnswer[]): void {
    const jobs = this.#sent.shift() ?? []
    this.#send()
    for (const [index, job] of jobs.entries()) {
      this.#waitingBytes -= job.length
      const answer = answers[index]
      if (answer === undefined) job.reject(hashFailed())
      else job.resolve({ digest: answer.digest, bytes: new Uint8Array(answer.buffer) })
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

interface ThreadAnswer {
  readonly digest: Uint8Array
  readonly buffer: ArrayBuffer
}

function hashFailed(cause?: unknown): IsthmusError {
  return new IsthmusError('ISTHMUS_HASH_FAILED', 'the hash thread ended', { cause })
}

// One message being hashed and one waiting, so that the thread never idles between two.
const MESSAGES_IN_FLIGHT = 2

const THREAD_SOURCE = `
const { createHash } = require('node:crypto')
const { parentPort } = require('node:worker_threads')
parentPort.on('message', (buffers) => {
  const answers = buffers.map((buffer) => ({
    digest: new Uint8Array(createHash('sha1').update(new Uint8Array(buffer)).digest()),
    buffer,
  }))
  parentPort.postMessage(answers, buffers)
})
`
