/** What the conditional headers of a GET or HEAD lead to. */
export type Precondition = 'proceed' | 'not modified' | 'failed'

/**
 * RFC 9110 §13.2.2, for a representation that has a strong entity tag and no date of its own: the
 * headers that compare dates have nothing to compare with and are ignored.
 */
export function evaluatePreconditions(headers: Headers, etag: string): Precondition {
  const ifMatch = headers.get('if-match')
  if (ifMatch !== null && !lists(ifMatch, etag, 'strong')) return 'failed'
  const ifNoneMatch = headers.get('if-none-match')
  if (ifNoneMatch !== null && lists(ifNoneMatch, etag, 'weak')) return 'not modified'
  return 'proceed'
}

/** The Range header, unless an If-Range (RFC 9110 §13.1.5, strong comparison) takes it away. */
export function applicableRange(headers: Headers, etag: string): string | null {
  const ifRange = headers.get('if-range')
  return ifRange === null || ifRange === etag ? headers.get('range') : null
}

function lists(header: string, etag: string, comparison: 'strong' | 'weak'): boolean {
  if (header.trim() === '*') return true
  for (const [tag] of header.matchAll(/(?:W\/)?"[\x21\x23-\x7e\x80-\xff]*"/g)) {
    if (tag === etag) return true
    if (comparison === 'weak' && tag === `W/${etag}`) return true
  }
  return false
}
