/** A URL longer than this is of no use to anybody, and is kept for as long as the torrent. */
const MAX_CHARACTERS = 2048

/** A tracker that we can announce to, normalised. @returns undefined unless http, https or udp. */
export function trackerUrl(text: string): string | undefined {
  return urlOf(text, ['http:', 'https:', 'udp:'])
}

/** A web seed or source of a .torrent, normalised. @returns undefined unless http or https. */
export function webUrl(text: string): string | undefined {
  return urlOf(text, ['http:', 'https:'])
}

/** Whether anybody may be asked there is not decided here: that is for the EgressGuard. */
function urlOf(text: string, schemes: readonly string[]): string | undefined {
  if (text.length > MAX_CHARACTERS || !URL.canParse(text)) return undefined
  const { protocol, hostname, href } = new URL(text)
  if (!schemes.includes(protocol) || hostname === '') return undefined
  // Escaping can make it longer.
  return href.length > MAX_CHARACTERS ? undefined : href
}

/** In a long list of useless ones, no more than this many for each one wanted are looked at. */
const CANDIDATES_PER_WANTED = 16

/** Keeps the usable ones in order, each once, at most `limit`. */
export function keepUsable(
  texts: Iterable<string>,
  normalise: (text: string) => string | undefined,
  limit: number,
): string[] {
  const kept = new Set<string>()
  let candidates = limit * CANDIDATES_PER_WANTED
  for (const text of texts) {
    if (kept.size >= limit || candidates-- <= 0) break
    const usable = normalise(text)
    if (usable !== undefined) kept.add(usable)
  }
  return [...kept]
}
