import { IsthmusError } from '@isthmus/core'
import type { HandlerRequest } from './request-context.ts'

/** The media type of a request's body, in lower case, without its parameters; '' where it names none. */
export function bodyType(headers: Headers): string {
  return (headers.get('content-type') ?? '').split(';', 1).join('').trim().toLowerCase()
}

/**
 * The whole body.
 *
 * @throws IsthmusError `ISTHMUS_REQUEST_TOO_LARGE` past `maxBytes`, before buffering more,
 *   `ISTHMUS_REQUEST_TYPE` where it is compressed.
 */
export async function readBody(request: HandlerRequest, maxBytes: number): Promise<Uint8Array> {
  const { headers } = request
  if ((headers.get('content-encoding') ?? 'identity').toLowerCase() !== 'identity') {
    throw new IsthmusError('ISTHMUS_REQUEST_TYPE', 'a body must not be compressed')
  }
  if (Number(headers.get('content-length') ?? 0) > maxBytes) throw tooLarge(maxBytes)
  const chunks: Uint8Array[] = []
  let length = 0
  for await (const chunk of request.body ?? []) {
    length += chunk.length
    if (length > maxBytes) throw tooLarge(maxBytes)
    chunks.push(chunk)
  }
  return concat(chunks, length)
}

/**
 * The body as JSON: an object with no keys but `keys`.
 *
 * @throws IsthmusError `ISTHMUS_REQUEST_TYPE` unless it says that it is JSON,
 *   `ISTHMUS_REQUEST_INVALID` where it is not, and as {@link readBody} does.
 */
export async function readJsonObject(
  request: HandlerRequest,
  options: { readonly maxBytes: number; readonly keys: readonly string[] },
): Promise<ReadonlyMap<string, unknown>> {
  if (bodyType(request.headers) !== 'application/json') {
    throw new IsthmusError('ISTHMUS_REQUEST_TYPE', 'the content type must be application/json')
  }
  const value = parseJson(await readBody(request, options.maxBytes))
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw new IsthmusError('ISTHMUS_REQUEST_INVALID', 'the body must be a JSON object')
  }
  const entries = Object.entries(value)
  if (entries.some(([key]) => !options.keys.includes(key))) {
    const keys = options.keys.join(', ')
    throw new IsthmusError('ISTHMUS_REQUEST_INVALID', `the body may have ${keys} and nothing else`)
  }
  return new Map(entries)
}

function parseJson(bytes: Uint8Array): unknown {
  try {
    return JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes))
  } catch (cause) {
    throw new IsthmusError('ISTHMUS_REQUEST_INVALID', 'the body is not JSON', { cause })
  }
}

function concat(chunks: readonly Uint8Array[], length: number): Uint8Array {
  const bytes = new Uint8Array(length)
  let offset = 0
  for (const chunk of chunks) {
    bytes.set(chunk, offset)
    offset += chunk.length
  }
  return bytes
}

function tooLarge(maxBytes: number): IsthmusError {
  return new IsthmusError('ISTHMUS_REQUEST_TOO_LARGE', `a body may have ${maxBytes} bytes`)
}
