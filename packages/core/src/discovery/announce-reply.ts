import { IsthmusError } from '../errors.ts'
import { BencodeDict, type BencodeValue, decodeBencodePrefix } from '../metainfo/bencode.ts'
import { formatIpAddress, parseIpAddress } from '../net/ip-address.ts'
import { decodeCompactPeers, type PeerAddress } from '../net/peer-address.ts'
import { type AnnounceReply, boundedIntervalMs, MAX_REPLY_PEERS, trackerText } from './announce.ts'

/**
 * Reads an HTTP tracker's answer (BEP 3, 7, 23, 24): peers packed or as dictionaries. Fields of a
 * wrong type count as missing.
 *
 * @throws IsthmusError `ISTHMUS_TRACKER_FAILED` where it is no bencoded dictionary, or says why it refused.
 */
export function parseAnnounceReply(bytes: Uint8Array): AnnounceReply {
  const reply = decodeReply(bytes)
  const failure = reply.get('failure reason')
  if (failure !== undefined) {
    const reason = failure instanceof Uint8Array ? trackerText(failure) : ''
    throw new IsthmusError('ISTHMUS_TRACKER_FAILED', `the tracker refused: ${reason}`)
  }
  const minSeconds = integer(reply.get('min interval'))
  const minIntervalMs = minSeconds === undefined ? undefined : boundedIntervalMs(minSeconds)
  const intervalMs = boundedIntervalMs(integer(reply.get('interval')) ?? DEFAULT_INTERVAL_SECONDS)
  return {
    intervalMs: Math.max(intervalMs, minIntervalMs ?? 0),
    minIntervalMs,
    peers: peersOf(reply),
    seeders: count(reply.get('complete')),
    leechers: count(reply.get('incomplete')),
    trackerId: trackerIdOf(reply.get('tracker id')),
    externalAddress: externalAddressOf(reply.get('external ip')),
    warning: warningOf(reply.get('warning message')),
  }
}

const DEFAULT_INTERVAL_SECONDS = 1800
const MAX_TRACKER_ID_BYTES = 512
const REPLY_LIMITS = { maxDepth: 8, maxTokens: 200_000 }

function decodeReply(bytes: Uint8Array): BencodeDict {
  let value: BencodeValue
  try {
    // Trackers have been seen to end with a line break.
    value = decodeBencodePrefix(bytes, REPLY_LIMITS).value
  } catch (cause) {
    throw notAReply(cause)
  }
  if (!(value instanceof BencodeDict)) throw notAReply()
  return value
}

function notAReply(cause?: unknown): IsthmusError {
  const options = cause === undefined ? undefined : { cause }
  return new IsthmusError('ISTHMUS_TRACKER_FAILED', 'the tracker answered no bencode', options)
}

function peersOf(reply: BencodeDict): readonly PeerAddress[] {
  const peers = reply.get('peers')
  const peers6 = reply.get('peers6')
  const ipv4 = peers instanceof Uint8Array ? decodeCompactPeers(bounded(peers, 6), 4) : []
  const listed = Array.isArray(peers) ? peers.slice(0, MAX_REPLY_PEERS).flatMap(listedPeer) : []
  const ipv6 = peers6 instanceof Uint8Array ? decodeCompactPeers(bounded(peers6, 18), 6) : []
  return [...ipv4, ...listed, ...ipv6].slice(0, MAX_REPLY_PEERS)
}

function bounded(bytes: Uint8Array, stride: number): Uint8Array {
  return bytes.subarray(0, stride * MAX_REPLY_PEERS)
}

/** BEP 3 allows a name as `ip`; those are left out, since only addresses can be judged. */
function listedPeer(entry: BencodeValue): PeerAddress[] {
  if (!(entry instanceof BencodeDict)) return []
  const ip = entry.get('ip')
  const port = integer(entry.get('port'))
  if (!(ip instanceof Uint8Array) || ip.length > 64) return []
  const address = parseIpAddress(Buffer.from(ip).toString('latin1'))
  if (address === undefined || port === undefined || port < 1 || port > 65_535) return []
  return [{ host: formatIpAddress(address), port }]
}

/** An integer of any size as the nearest number; undefined for everything else. */
function integer(value: BencodeValue | undefined): number | undefined {
  return typeof value === 'number' || typeof value === 'bigint' ? Number(value) : undefined
}

function count(value: BencodeValue | undefined): number | undefined {
  return typeof value === 'number' && value >= 0 ? value : undefined
}

function trackerIdOf(value: BencodeValue | undefined): string | undefined {
  if (!(value instanceof Uint8Array)) return undefined
  if (value.length === 0 || value.length > MAX_TRACKER_ID_BYTES) return undefined
  return Buffer.from(value).toString('latin1')
}

/** BEP 24: 4 or 16 bytes. */
function externalAddressOf(value: BencodeValue | undefined): string | undefined {
  if (!(value instanceof Uint8Array)) return undefined
  return value.length === 4 || value.length === 16 ? formatIpAddress(value) : undefined
}

function warningOf(value: BencodeValue | undefined): string | undefined {
  return value instanceof Uint8Array && value.length > 0 ? trackerText(value) : undefined
}
