import { type InfoHash, IsthmusError, isIsthmusError, parseInfoHash } from '@isthmus/core'

/** First path segments that never are an info hash: routes that exist, and those that are to come. */
const reservedWords: ReadonlySet<string> = new Set([
  '',
  'announce',
  'api',
  'bep44',
  'data',
  'events',
  'fileState',
  'health',
  'healthz',
  'hls',
  'info',
  'metainfo',
  'metrics',
  'openapi.json',
  'readyz',
  'scrape',
  'status',
  'stream',
  'torrent',
  'ui',
  'upload',
])

/** What the first segment of a path stands for. */
export type FirstSegment =
  | { readonly kind: 'word'; readonly word: string }
  | { readonly kind: 'torrent'; readonly infoHash: InfoHash }

/**
 * @throws IsthmusError `ISTHMUS_INFO_HASH_INVALID` where it looks like a mangled info hash,
 *   `ISTHMUS_ROUTE_UNKNOWN` for any other word that is not reserved.
 */
export function readFirstSegment(segment: string): FirstSegment {
  if (reservedWords.has(segment)) return { kind: 'word', word: segment }
  try {
    return { kind: 'torrent', infoHash: parseInfoHash(segment) }
  } catch (error) {
    if (!isIsthmusError(error)) throw error
    if (looksLikeInfoHash(segment)) throw error
    throw new IsthmusError('ISTHMUS_ROUTE_UNKNOWN', 'there is nothing at this path', {
      cause: error,
    })
  }
}

/** Hex digits only, 20 or more; or 28 to 36 base32 characters with a digit among them. */
function looksLikeInfoHash(segment: string): boolean {
  if (/^[0-9a-f]{20,}$/i.test(segment)) return true
  return /^[a-z2-7]{28,36}$/i.test(segment) && /[2-7]/.test(segment)
}
