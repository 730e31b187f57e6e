import { decodeCompactPeers } from '../net/peer-address.ts'
import {
  type AnnounceReply,
  type AnnounceRequest,
  boundedIntervalMs,
  DEFAULT_NUM_WANT,
  MAX_REPLY_PEERS,
  trackerText,
  UNKNOWN_LEFT,
} from './announce.ts'

// BEP 15. All values are big-endian; messages may grow at their end.
const PROTOCOL_ID = 0x41727101980n
const CONNECT = 0
const ANNOUNCE = 1
const ERROR = 3
const EVENTS = { update: 0, completed: 1, started: 2, stopped: 3 } as const
// BEP 41.
const URL_DATA = 2

/** What a datagram says to the transaction that it names; undefined where it says nothing to it. */
export type UdpTrackerAnswer =
  | { readonly kind: 'connected'; readonly connectionId: bigint }
  | { readonly kind: 'announced'; readonly reply: AnnounceReply }
  | { readonly kind: 'refused'; readonly reason: string }

export function encodeConnect(transactionId: number): Uint8Array {
  const message = Buffer.alloc(16)
  message.writeBigUInt64BE(PROTOCOL_ID, 0)
  message.writeUInt32BE(CONNECT, 8)
  message.writeUInt32BE(transactionId, 12)
  return message
}

/** @param urlData - path and query of the tracker's URL (BEP 41), or nothing */
export function encodeAnnounce(
  request: AnnounceRequest,
  connectionId: bigint,
  transactionId: number,
  urlData: string,
): Uint8Array {
  const { infoHash, peerId, port, event, totals, key, numWant = DEFAULT_NUM_WANT } = request
  const message = Buffer.alloc(98)
  message.writeBigUInt64BE(connectionId, 0)
  message.writeUInt32BE(ANNOUNCE, 8)
  message.writeUInt32BE(transactionId, 12)
  message.set(infoHash.subarray(0, 20), 16)
  message.set(peerId.subarray(0, 20), 36)
  message.writeBigUInt64BE(BigInt(totals.downloaded), 56)
  message.writeBigUInt64BE(BigInt(totals.left ?? UNKNOWN_LEFT), 64)
  message.writeBigUInt64BE(BigInt(totals.uploaded), 72)
  message.writeUInt32BE(EVENTS[event], 80)
  // 84: our address stays 0, so that the tracker takes the one that the datagram came from.
  message.writeUInt32BE(key >>> 0, 88)
  message.writeInt32BE(numWant, 92)
  message.writeUInt16BE(port, 96)
  return Buffer.concat([message, ...urlDataOptions(urlData)])
}

/** BEP 41: what is longer than 255 bytes goes into several options, joined again by the tracker. */
function urlDataOptions(urlData: string): Uint8Array[] {
  const bytes = Buffer.from(urlData, 'latin1')
  const options: Uint8Array[] = []
  for (let at = 0; at < bytes.length; at += 255) {
    const part = bytes.subarray(at, at + 255)
    options.push(Buffer.concat([Uint8Array.of(URL_DATA, part.length), part]))
  }
  return options
}

/** @param family - of the socket, which decides how long a packed peer is */
export function decodeAnswer(
  datagram: Uint8Array,
  transactionId: number,
  family: 4 | 6,
): UdpTrackerAnswer | undefined {
  const message = Buffer.from(datagram.buffer, datagram.byteOffset, datagram.byteLength)
  if (message.length < 8 || message.readUInt32BE(4) !== transactionId) return undefined
  const action = message.readUInt32BE(0)
  if (action === ERROR) return { kind: 'refused', reason: trackerText(message.subarray(8)) }
  if (action === CONNECT && message.length >= 16) {
    return { kind: 'connected', connectionId: message.readBigUInt64BE(8) }
  }
  if (action === ANNOUNCE && message.length >= 20) {
    return { kind: 'announced', reply: decodeReply(message, family) }
  }
  return undefined
}

function decodeReply(message: Buffer, family: 4 | 6): AnnounceReply {
  return {
    intervalMs: boundedIntervalMs(message.readUInt32BE(8)),
    leechers: message.readUInt32BE(12),
    seeders: message.readUInt32BE(16),
    peers: decodeCompactPeers(message.subarray(20), family).slice(0, MAX_REPLY_PEERS),
  }
}
