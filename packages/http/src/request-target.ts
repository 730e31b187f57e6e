import { IsthmusError } from '@isthmus/core'

/** The target of a request, taken apart. */
export interface RequestTarget {
  /** Path components, each percent-decoded on its own, once. At least one; the last is '' behind a slash at the end. */
  readonly segments: readonly string[]
  readonly query: URLSearchParams
}

const maxTargetCharacters = 16_384

/**
 * Reads a raw request target in origin form (`/path?query`) or absolute form (RFC 9112 §3.2).
 *
 * @throws IsthmusError `ISTHMUS_REQUEST_TARGET` for anything else: a malformed percent escape, an
 *   empty component before the last, a control character.
 */
export function parseRequestTarget(target: string): RequestTarget {
  if (target.length > maxTargetCharacters) throw invalid('is too long')
  const origin = originForm(target)
  // A fragment is never sent; what looks like one was not escaped.
  if (/[^\x21-\xff]|[#\x7f]/.test(origin)) throw invalid('has a character that must be escaped')
  const mark = origin.indexOf('?')
  const path = mark === -1 ? origin : origin.slice(0, mark)
  const components = path.slice(1).split('/')
  if (components.slice(0, -1).includes('')) throw invalid('has an empty path component')
  return {
    segments: components.map(decodeComponent),
    query: new URLSearchParams(mark === -1 ? '' : escapeBytes(origin.slice(mark + 1))),
  }
}

function originForm(target: string): string {
  if (target.startsWith('/')) return target
  // RFC 9112 §3.2.2: a server must accept the absolute form too.
  const absolute = /^https?:\/\/[^/?#]+/i.exec(target)
  if (absolute === null) throw invalid('is neither a path nor an http URL')
  const rest = target.slice(absolute[0].length)
  return rest.startsWith('/') ? rest : `/${rest}`
}

function decodeComponent(component: string): string {
  if (!component.includes('%') && !/[\x80-\xff]/.test(component)) return component
  let decoded: string
  try {
    decoded = decodeURIComponent(escapeBytes(component))
  } catch (cause) {
    throw invalid('has a malformed percent escape', cause)
  }
  if (decoded.includes('\0')) throw invalid('names a NUL character')
  return decoded
}

/** Raw bytes over 0x7F arrive as one character each; some clients send UTF-8 without escaping it. */
function escapeBytes(text: string): string {
  return text.replace(/[\x80-\xff]/g, (c) => `%${c.charCodeAt(0).toString(16).toUpperCase()}`)
}

function invalid(problem: string, cause?: unknown): IsthmusError {
  return new IsthmusError('ISTHMUS_REQUEST_TARGET', `the request target ${problem}`, { cause })
}
