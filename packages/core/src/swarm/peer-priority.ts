import type { PeerAddress } from '../discovery/discovery.ts'
import { crc32c } from '../net/crc32c.ts'
import { parseIpAddress } from '../net/ip-address.ts'

/**
 * How much two peers should prefer each other to others, the same from both ends (BEP 40). Where
 * their families differ there is no such number, and all are equal.
 */
export function peerPriority(one: PeerAddress, other: PeerAddress): number {
  const [a, b] = [parseIpAddress(one.host), parseIpAddress(other.host)]
  if (a === undefined || b === undefined || a.length !== b.length) return 0
  if (Buffer.compare(a, b) === 0) return hashOf(bytesOf(one.port), bytesOf(other.port))
  const whole = wholeBytes(a, b)
  return hashOf(masked(a, whole), masked(b, whole))
}

/** One byte more than what they have in common, two (IPv4) or six (IPv6) at least. */
function wholeBytes(a: Uint8Array, b: Uint8Array): number {
  const common = a.findIndex((byte, index) => byte !== b[index])
  return Math.max(a.length === 4 ? 2 : 6, common + 1)
}

function masked(address: Uint8Array, whole: number): Uint8Array {
  return address.map((byte, index) => (index < whole ? byte : byte & 0x55))
}

function hashOf(a: Uint8Array, b: Uint8Array): number {
  return crc32c(Buffer.concat([a, b].sort(Buffer.compare)))
}

function bytesOf(port: number): Uint8Array {
  return Uint8Array.of(port >> 8, port & 0xff)
}
