import { IsthmusError } from '../errors.ts'
import { defaultLimits } from '../limits.ts'
import { type AbortOptions, deadline } from '../signal.ts'
import type { EgressGuard, EgressTarget } from './egress-guard.ts'
import { fetchFailed, isRedirect, requestBytes } from './http-request.ts'

export interface FetchOptions extends AbortOptions {
  /** More than this is given up as soon as it is known, from the headers or while reading. */
  readonly maxBytes: number
  /** For all of it, redirects included. @defaultValue 30_000 */
  readonly timeoutMs?: number | undefined
  /** `authorization`, `cookie` and `proxy-authorization` stay behind on a redirect to another origin. */
  readonly headers?: Readonly<Record<string, string>> | undefined
  /** Redirects that are followed. @defaultValue 5 */
  readonly redirects?: number | undefined
  /** Answers that are no success resolve too, instead of rejecting. @defaultValue false */
  readonly anyStatus?: boolean | undefined
}

export interface FetchedBytes {
  readonly bytes: Uint8Array
  /** Where they came from in the end. */
  readonly url: URL
  readonly status: number
  /** By lower-case name; of a repeated one the values are joined by commas. */
  readonly headers: Readonly<Record<string, string>>
}

/**
 * A bounded GET of an http or https URL. Every hop passes the guard. Rejects with
 * `ISTHMUS_EGRESS_DENIED`, `ISTHMUS_FETCH_FAILED` (no answer, in time or at all),
 * `ISTHMUS_FETCH_STATUS` (an answer that is no success) or `ISTHMUS_FETCH_TOO_LARGE`.
 */
export async function fetchBytes(
  guard: EgressGuard,
  url: URL,
  options: FetchOptions,
): Promise<FetchedBytes> {
  const { timeoutMs = 30_000, redirects = defaultLimits.redirects } = options
  using limit = deadline(
    timeoutMs,
    () => fetchFailed(url, 'did not answer in time'),
    options.signal,
  )
  let hop: Hop = { url, headers: lowerCased(options.headers ?? {}), from: undefined }
  for (let followed = 0; ; followed++) {
    const from = await guard.resolve(hop.url, { signal: limit.signal, redirectedFrom: hop.from })
    const { maxBytes } = options
    const { signal } = limit
    const answer = await requestBytes(guard, from, { maxBytes, headers: hop.headers, signal })
    const { location } = answer.headers
    if (location === undefined || !isRedirect(answer.status)) {
      const success = answer.status >= 200 && answer.status < 300
      if (success || options.anyStatus === true) return { ...answer, url: hop.url }
      throw new IsthmusError('ISTHMUS_FETCH_STATUS', `${hop.url.host} answered ${answer.status}`)
    }
    if (followed >= redirects) throw fetchFailed(url, 'redirected too often')
    hop = nextHop(hop, location, from)
  }
}

interface Hop {
  readonly url: URL
  readonly headers: Readonly<Record<string, string>>
  readonly from: EgressTarget | undefined
}

const credentialHeaders: ReadonlySet<string> = new Set([
  'authorization',
  'cookie',
  'proxy-authorization',
])

function nextHop(hop: Hop, location: string, from: EgressTarget): Hop {
  if (!URL.canParse(location, hop.url.href)) throw fetchFailed(hop.url, 'redirected to no URL')
  const url = new URL(location, hop.url)
  const sameOrigin = url.origin === hop.url.origin
  url.username = sameOrigin ? hop.url.username : ''
  url.password = sameOrigin ? hop.url.password : ''
  const kept = Object.entries(hop.headers).filter(
    ([name]) => sameOrigin || !credentialHeaders.has(name),
  )
  return { url, headers: Object.fromEntries(kept), from }
}

function lowerCased(headers: Readonly<Record<string, string>>): Record<string, string> {
  return Object.fromEntries(
    Object.entries(headers).map(([name, value]) => [name.toLowerCase(), value]),
  )
}
