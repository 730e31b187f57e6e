import { IsthmusError, isIsthmusError, type Resource } from '@isthmus/core'
import { statusOf } from './status.ts'

/**
 * What HTTP will answer, before anyone decides how to pump it. Whoever gets one disposes of it, also
 * where the body was never read (HEAD, a client that left).
 */
export interface Reply extends AsyncDisposable {
  readonly status: number
  readonly headers: Headers
  readonly body?: Resource | Uint8Array | undefined
  /** No route took the request: a listener that was mounted in front of others may pass it on. */
  readonly unrouted?: boolean | undefined
}

/** Header fields by name. */
export type HeaderFields = Headers | Readonly<Record<string, string>>

const encoder = new TextEncoder()

/** A JSON answer that nobody caches. */
export function jsonReply(status: number, value: unknown, extra: HeaderFields = {}): Reply {
  const body = encoder.encode(`${JSON.stringify(value)}\n`)
  const headers = new Headers({
    'content-type': 'application/json',
    'content-length': String(body.length),
    'cache-control': 'no-store',
    'x-content-type-options': 'nosniff',
  })
  for (const [name, text] of new Headers(extra)) headers.set(name, text)
  return { status, headers, body, [Symbol.asyncDispose]: async () => {} }
}

/** An answer without a body. */
export function emptyReply(status: number, headers: HeaderFields = {}): Reply {
  return { status, headers: new Headers(headers), [Symbol.asyncDispose]: async () => {} }
}

/** The failure as `{"error", "code"}` with the status of its code; what is not ours is told to nobody. */
export function errorReply(error: unknown, extra: HeaderFields = {}): Reply {
  const failure = isIsthmusError(error)
    ? error
    : new IsthmusError('ISTHMUS_INTERNAL', 'the server failed')
  const status = statusOf(failure.code)
  // What failed inside may name directories of this machine.
  const text = status === 500 ? 'the server failed' : failure.message
  const reply = jsonReply(status, { error: text, code: failure.code }, extra)
  return failure.code === 'ISTHMUS_ROUTE_UNKNOWN' ? { ...reply, unrouted: true } : reply
}
