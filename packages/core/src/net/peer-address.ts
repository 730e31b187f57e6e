import { IsthmusError } from '../errors.ts'
import { formatIpAddress, parseIpAddress } from './ip-address.ts'

/** Where a peer listens. */
export interface PeerAddress {
  /** An IPv4 or IPv6 literal, never a name. */
  readonly host: string
  readonly port: number
}

/**
 * Reads `host:port` or `[v6]:port`; IP literals only, port 1 to 65535. The host comes back in its
 * canonical spelling, an IPv4-mapped one as IPv4, so that equal addresses have equal texts.
 *
 * @throws IsthmusError `ISTHMUS_PEER_ADDRESS_INVALID`
 */
export function parsePeerAddress(text: string): PeerAddress {
  const [, v6, v4, digits] = /^(?:\[([^\]]{2,64})\]|([\d.]{7,15})):(\d{1,5})$/.exec(text) ?? []
  const bytes = parseIpAddress(v6 ?? v4 ?? '')
  const port = Number(digits)
  // Brackets hold IPv6 only (RFC 3986 §3.2.2).
  const wrongBrackets = v6 !== undefined && !v6.includes(':')
  if (bytes === undefined || wrongBrackets || !(port >= 1 && port <= 65535)) {
    throw new IsthmusError(
      'ISTHMUS_PEER_ADDRESS_INVALID',
      'a peer address is an IP address and a port, as 192.0.2.1:6881 or [2001:db8::1]:6881',
    )
  }
  return { host: formatIpAddress(bytes), port }
}

/** `host:port`, or `[v6]:port`. */
export function formatPeerAddress({ host, port }: PeerAddress): string {
  return host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`
}

/**
 * Peers as trackers, PEX and DHT pack them: an address and a big-endian port each, 6 bytes for IPv4
 * (BEP 23), 18 for IPv6 (BEP 7). Port 0 and what is left behind the last whole peer are left out.
 */
export function decodeCompactPeers(bytes: Uint8Array, family: 4 | 6): PeerAddress[] {
  const addressLength = family === 4 ? 4 : 16
  const stride = addressLength + 2
  const peers: PeerAddress[] = []
  for (let at = 0; at + stride <= bytes.length; at += stride) {
    const port = ((bytes[at + stride - 2] ?? 0) << 8) | (bytes[at + stride - 1] ?? 0)
    const host = formatIpAddress(bytes.subarray(at, at + addressLength))
    if (port !== 0) peers.push({ host, port })
  }
  return peers
}

/** An address and its port as {@link decodeCompactPeers} reads them: 6 bytes for IPv4, 18 for IPv6. */
export function encodeCompactPeer({ host, port }: PeerAddress): Uint8Array {
  const bytes = parseIpAddress(host)
  if (bytes === undefined) throw new TypeError(`not an IP address: ${host}`)
  return Uint8Array.of(...bytes, port >> 8, port & 0xff)
}
