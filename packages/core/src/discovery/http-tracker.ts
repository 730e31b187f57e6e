import { IsthmusError } from '../errors.ts'
import { defaultLimits } from '../limits.ts'
import { fetchBytes } from '../net/fetch-bytes.ts'
import {
  type AnnounceCallOptions,
  type AnnounceReply,
  type AnnounceRequest,
  DEFAULT_NUM_WANT,
  UNKNOWN_LEFT,
} from './announce.ts'
import { parseAnnounceReply } from './announce-reply.ts'

/**
 * Announces once to an HTTP or HTTPS tracker (BEP 3, 7, 23, 24). Rejects with
 * `ISTHMUS_TRACKER_FAILED` for what the tracker answered, and with the codes of `fetchBytes` where
 * no answer could be read.
 */
export async function announceHttp(
  url: URL,
  request: AnnounceRequest,
  options: AnnounceCallOptions,
): Promise<AnnounceReply> {
  const { guard, maxBytes = defaultLimits.trackerResponseBytes, timeoutMs, signal } = options
  const { bytes, status } = await fetchBytes(guard, announceUrl(url, request), {
    maxBytes,
    timeoutMs,
    signal,
    anyStatus: true,
    headers: { 'user-agent': 'Isthmus' },
  })
  if (status >= 200 && status < 300) return parseAnnounceReply(bytes)
  throw refusedWithStatus(url, status, bytes)
}

/** Some trackers say why they refuse beside an error status. */
function refusedWithStatus(url: URL, status: number, bytes: Uint8Array): IsthmusError {
  const answered = `${url.host} answered ${status}`
  try {
    parseAnnounceReply(bytes)
    return new IsthmusError('ISTHMUS_TRACKER_FAILED', answered)
  } catch (cause) {
    const detail = cause instanceof Error ? cause.message : ''
    return new IsthmusError('ISTHMUS_TRACKER_FAILED', `${answered}: ${detail}`, { cause })
  }
}

/** The tracker's own URL, its query kept, with the announce behind it. */
function announceUrl(url: URL, request: AnnounceRequest): URL {
  const { infoHash, peerId, port, event, totals, key, trackerId } = request
  const parameters: readonly (readonly [string, string | undefined])[] = [
    ['info_hash', percentEncoded(infoHash)],
    ['peer_id', percentEncoded(peerId)],
    ['port', `${port}`],
    ['uploaded', `${totals.uploaded}`],
    ['downloaded', `${totals.downloaded}`],
    ['left', `${totals.left ?? UNKNOWN_LEFT}`],
    ['compact', '1'],
    ['numwant', `${request.numWant ?? DEFAULT_NUM_WANT}`],
    ['key', key.toString(16).padStart(8, '0')],
    ['event', event === 'update' ? undefined : event],
    ['trackerid', trackerId && percentEncoded(Buffer.from(trackerId, 'latin1'))],
  ]
  const given = parameters.filter(([, value]) => value !== undefined && value !== '')
  const query = given.map(([name, value]) => `${name}=${value}`).join('&')
  const announce = new URL(url)
  announce.hash = ''
  announce.search = url.search.length > 1 ? `${url.search}&${query}` : query
  return announce
}

/** Raw bytes, each as `%xx` unless unreserved (RFC 3986 §2.3): no text encoding comes between. */
function percentEncoded(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => {
    const character = String.fromCharCode(byte)
    if (/[A-Za-z0-9._~-]/.test(character)) return character
    return `%${byte.toString(16).toUpperCase().padStart(2, '0')}`
  }).join('')
}
