/** Every call that waits takes these. */
export interface AbortOptions {
  /** Ends the wait: the call rejects with `signal.reason`, untouched. */
  readonly signal?: AbortSignal | undefined
}

/** Waits for `promise`, or rejects with `signal.reason` as soon as `signal` aborts. */
export async function abortable<T>(promise: Promise<T>, signal?: AbortSignal): Promise<T> {
  if (signal === undefined) return promise
  if (signal.aborted) {
    promise.catch(() => {})
    throw signal.reason
  }
  let onAbort: (() => void) | undefined
  const aborted = new Promise<never>((_, reject) => {
    onAbort = () => reject(signal.reason)
    signal.addEventListener('abort', onAbort, { once: true })
  })
  try {
    return await Promise.race([promise, aborted])
  } finally {
    if (onAbort !== undefined) signal.removeEventListener('abort', onAbort)
  }
}

/**
 * A signal that aborts with any of `signals`, or with `timeoutError()` after `timeoutMs`. Dispose it
 * when the work is over: that clears the timer (which never keeps the process alive).
 */
export function deadline(
  timeoutMs: number,
  timeoutError: () => Error,
  ...signals: readonly (AbortSignal | undefined)[]
): Disposable & { readonly signal: AbortSignal } {
  const controller = new AbortController()
  const timer = setTimeout(() => controller.abort(timeoutError()), timeoutMs)
  timer.unref?.()
  const sources = signals.filter((signal) => signal !== undefined)
  const forward = (event: Event) => controller.abort((event.target as AbortSignal).reason)
  for (const source of sources) {
    if (source.aborted) controller.abort(source.reason)
    else source.addEventListener('abort', forward, { once: true })
  }
  return {
    signal: controller.signal,
    [Symbol.dispose]() {
      clearTimeout(timer)
      for (const source of sources) source.removeEventListener('abort', forward)
    },
  }
}
