import type { IncomingMessage } from 'node:http'
import { isIP } from 'node:net'
import simpleGet from 'simple-get'
import { IsthmusError } from '../errors.ts'
import type { EgressGuard, EgressTarget } from './egress-guard.ts'

export interface RequestOptions {
  /** By lower-case name. */
  readonly headers: Readonly<Record<string, string>>
  readonly maxBytes: number
  readonly signal: AbortSignal
}

export interface Answer {
  readonly bytes: Uint8Array
  readonly status: number
  /** By lower-case name; of a repeated one the values are joined by commas. */
  readonly headers: Readonly<Record<string, string>>
}

/**
 * One GET to a checked target, redirects not followed (their bodies are not read). Where no answer
 * begins, the next of the checked addresses is tried. Rejects with `ISTHMUS_FETCH_FAILED` or
 * `ISTHMUS_FETCH_TOO_LARGE`.
 */
export async function requestBytes(
  guard: EgressGuard,
  target: EgressTarget,
  options: RequestOptions,
): Promise<Answer> {
  let cause: unknown
  for (const address of target.addresses.slice(0, maxAddresses)) {
    for (let attempt = 0; attempt < maxAttempts; attempt++) {
      const outcome = await attemptRequest(guard, target, address, options)
      if ('answer' in outcome) return outcome.answer
      cause = outcome.cause
      // A server may close an idle kept-alive connection while the request is on its way.
      if (!outcome.reusedConnection) break
    }
  }
  throw fetchFailed(target.url, 'could not be reached', cause)
}

const maxAddresses = 4
const maxAttempts = 4
const socketIdleMs = 20_000

export function isRedirect(status: number): boolean {
  return [301, 302, 303, 307, 308].includes(status)
}

export function fetchFailed(url: URL, problem: string, cause?: unknown): IsthmusError {
  const options = cause === undefined ? undefined : { cause }
  return new IsthmusError('ISTHMUS_FETCH_FAILED', `${url.host} ${problem}`, options)
}

type Outcome =
  | { readonly answer: Answer }
  | { readonly cause: unknown; readonly reusedConnection: boolean }

function attemptRequest(
  guard: EgressGuard,
  target: EgressTarget,
  address: string,
  { headers, maxBytes, signal }: RequestOptions,
): Promise<Outcome> {
  signal.throwIfAborted()
  const options = requestOptions(guard, target, address, headers)
  return new Promise<Outcome>((resolve, reject) => {
    let answered = false
    const request = simpleGet(options, (cause, response) => {
      answered = true
      if (response === undefined) {
        unanswered(cause)
        return
      }
      readAnswer(response, target.url, maxBytes).then(
        (answer) => {
          signal.removeEventListener('abort', onAbort)
          resolve({ answer })
        },
        (error: unknown) => {
          request.destroy()
          signal.removeEventListener('abort', onAbort)
          reject(error)
        },
      )
    })
    const unanswered = (cause: unknown) => {
      signal.removeEventListener('abort', onAbort)
      resolve({ cause, reusedConnection: request.reusedSocket })
    }
    const onAbort = () => {
      reject(signal.reason)
      request.destroy()
    }
    signal.addEventListener('abort', onAbort, { once: true })
    // What a decoder may be wrapped around by now breaks off without anybody listening.
    request.once('response', (response) => response.on('error', () => {}))
    // A protocol upgrade that nobody asked for is told by no other event.
    request.once('close', () => {
      if (!answered) unanswered(new Error('the connection was closed'))
    })
  })
}

/** Host, port and path of the WHATWG URL, so that no second parser reads the URL. */
function requestOptions(
  guard: EgressGuard,
  { url, port }: EgressTarget,
  address: string,
  headers: Readonly<Record<string, string>>,
): Exclude<Parameters<typeof simpleGet>[0], string> {
  const protocol = url.protocol === 'https:' ? 'https:' : 'http:'
  const auth = `${unescaped(url.username)}:${unescaped(url.password)}`
  return {
    url: '',
    method: 'GET',
    protocol,
    hostname: address,
    port,
    path: `${url.pathname}${url.search}`,
    // RFC 9110 §12.5.3: without a coding, lengths and hashes are those of the bytes themselves.
    headers: { ...headers, host: url.host, 'accept-encoding': 'identity' },
    agent: guard.agent(protocol),
    timeout: socketIdleMs,
    followRedirects: false,
    ...(auth === ':' ? {} : { auth }),
    ...(protocol === 'https:' ? { servername: serverNameOf(url) } : {}),
  }
}

/** RFC 6066 §3: a name without the dot at its end; addresses are not named, but checked as such. */
function serverNameOf(url: URL): string {
  if (url.hostname.startsWith('[') || isIP(url.hostname) !== 0) return ''
  return url.hostname.replace(/\.$/, '')
}

async function readAnswer(response: IncomingMessage, url: URL, maxBytes: number): Promise<Answer> {
  const status = response.statusCode ?? 0
  const headers = joined(response.headers)
  response.on('error', () => {})
  try {
    if (isRedirect(status) && headers.location !== undefined) {
      return { bytes: new Uint8Array(0), status, headers }
    }
    if ((headers['content-encoding'] ?? 'identity').toLowerCase() !== 'identity') {
      throw fetchFailed(url, 'answered in a content coding that was not accepted')
    }
    return { bytes: await readBody(response, url, maxBytes), status, headers }
  } finally {
    // Ends the connection, unless the answer was read to its end and the agent keeps it.
    response.destroy()
  }
}

async function readBody(
  response: IncomingMessage,
  url: URL,
  maxBytes: number,
): Promise<Uint8Array> {
  const tooLarge = () =>
    new IsthmusError('ISTHMUS_FETCH_TOO_LARGE', `${url.host} sent more than ${maxBytes} bytes`)
  if (Number(response.headers['content-length'] ?? 0) > maxBytes) throw tooLarge()
  const chunks: Uint8Array[] = []
  let length = 0
  try {
    for await (const chunk of response as AsyncIterable<Uint8Array>) {
      length += chunk.length
      if (length > maxBytes) throw tooLarge()
      chunks.push(chunk)
    }
  } catch (error) {
    if (error instanceof IsthmusError) throw error
    throw fetchFailed(url, 'broke off its answer', error)
  }
  return joinedChunks(chunks, length)
}

function joinedChunks(chunks: readonly Uint8Array[], length: number): Uint8Array {
  const bytes = new Uint8Array(length)
  let at = 0
  for (const chunk of chunks) {
    bytes.set(chunk, at)
    at += chunk.length
  }
  return bytes
}

function joined(headers: IncomingMessage['headers']): Record<string, string> {
  const entries = Object.entries(headers).flatMap(([name, value]) =>
    value === undefined ? [] : [[name, Array.isArray(value) ? value.join(', ') : value] as const],
  )
  return Object.fromEntries(entries)
}

/** A user or password may hold a bare `%`, which is then no escape. */
function unescaped(text: string): string {
  try {
    return decodeURIComponent(text)
  } catch {
    return text
  }
}
