/** Origins whose pages may read files: all of them, or those listed (`https://example.org`). */
export type CorsOrigins = '*' | readonly string[]

/** Lets pages of `origins` read the answer (Fetch standard, CORS protocol). Changes `headers`. */
export function allowOrigin(headers: Headers, origins: CorsOrigins, request: Headers): void {
  if (origins === '*') {
    headers.set('access-control-allow-origin', '*')
  } else {
    headers.append('vary', 'origin')
    const origin = request.get('origin')
    if (origin === null || !origins.includes(origin)) return
    headers.set('access-control-allow-origin', origin)
  }
  headers.set('access-control-expose-headers', 'accept-ranges, content-range, content-length, etag')
}

/** Answers a preflight: what a player of files sends, and no more. Changes `headers`. */
export function allowPreflight(headers: Headers): void {
  headers.set('access-control-allow-methods', 'GET, HEAD')
  headers.set('access-control-allow-headers', 'range, if-range, if-match, if-none-match')
  headers.set('access-control-max-age', '86400')
}
