import type { BencodeDict, BencodeValue } from './bencode.ts'
import { optionalText } from './dict-fields.ts'
import { keepUsable, trackerUrl, webUrl } from './source-urls.ts'

/**
 * The tiers of `announce-list` (BEP 12), or of `announce` where there is none that is usable. What is
 * not an http, https or udp URL is left out, as is the second mention of one.
 *
 * @param limit - trackers in all
 */
export function announceTiers(torrent: BencodeDict, limit: number): string[][] {
  const list = torrent.get('announce-list')
  const tiers: string[][] = []
  const seen = new Set<string>()
  // A tier that is a text instead of a list of texts is common enough to be understood.
  for (const tier of Array.isArray(list) ? list.slice(0, limit) : []) {
    const urls = keepUsable(textsOf(tier), trackerUrl, limit - seen.size)
    const fresh = urls.filter((url) => !seen.has(url))
    for (const url of fresh) seen.add(url)
    if (fresh.length > 0) tiers.push(fresh)
  }
  if (tiers.length > 0) return tiers
  const urls = keepUsable(textsOf(torrent.get('announce')), trackerUrl, 1)
  return urls.length > 0 ? [urls] : []
}

/** `url-list` (BEP 19): a text or a list of texts. */
export function webSeedsOf(torrent: BencodeDict, limit: number): string[] {
  return keepUsable(textsOf(torrent.get('url-list')), webUrl, limit)
}

function* textsOf(value: BencodeValue | undefined): Generator<string> {
  for (const item of Array.isArray(value) ? value : [value]) {
    const text = optionalText(item)
    if (text !== undefined) yield text
  }
}
