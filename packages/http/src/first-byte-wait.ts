import { IsthmusError } from '@isthmus/core'

/** Longest that a request may ask to wait for its first byte. */
const maxTimeoutMs = 120_000

const failures = {
  metadata: () =>
    new IsthmusError(
      'ISTHMUS_METADATA_TIMEOUT',
      'no peer gave the metadata of the torrent in time',
    ),
  pieces: () => new IsthmusError('ISTHMUS_SWARM_TIMEOUT', 'no peer gave the bytes in time'),
}

/**
 * The time that a first byte may take, and the life of the read behind it: `signal` aborts when it
 * takes too long, when the client leaves, and when this is disposed of.
 */
export class FirstByteWait implements Disposable {
  /** What is being waited for, and what a failure says was missing. */
  stage: keyof typeof failures = 'metadata'
  readonly #controller = new AbortController()
  readonly #client: AbortSignal
  readonly #timer: ReturnType<typeof setTimeout>
  readonly #onGone = () => this.#controller.abort(this.#client.reason)

  constructor(timeoutMs: number, client: AbortSignal) {
    this.#client = client
    this.#timer = setTimeout(() => this.#controller.abort(failures[this.stage]()), timeoutMs)
    this.#timer.unref?.()
    if (client.aborted) this.#onGone()
    else client.addEventListener('abort', this.#onGone, { once: true })
  }

  get signal(): AbortSignal {
    return this.#controller.signal
  }

  /** The first byte is there: from now on the read may take as long as it does. */
  arrived(): void {
    clearTimeout(this.#timer)
  }

  [Symbol.dispose](): void {
    clearTimeout(this.#timer)
    this.#client.removeEventListener('abort', this.#onGone)
    this.#controller.abort(new DOMException('the answer is over', 'AbortError'))
  }
}

/**
 * The `timeout` of a query: a number with `ms`, `s` (which may be left out) or `m`, cut at two minutes.
 *
 * @throws IsthmusError `ISTHMUS_REQUEST_INVALID` for anything else.
 */
export function readTimeout(text: string | null, defaultMs: number): number {
  if (text === null) return defaultMs
  const match = /^(\d{1,9})(ms|s|m)?$/.exec(text)
  if (match === null) {
    throw new IsthmusError('ISTHMUS_REQUEST_INVALID', 'timeout must be a time such as 45s')
  }
  const unit = match[2] === 'ms' ? 1 : match[2] === 'm' ? 60_000 : 1000
  return Math.min(Math.max(Number(match[1]) * unit, 1), maxTimeoutMs)
}
