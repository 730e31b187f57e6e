import { randomBytes } from 'node:crypto'
import { crc32c } from '../net/crc32c.ts'
import { parseIpAddress } from '../net/ip-address.ts'

export const NODE_ID_BYTES = 20

// BEP 42: the more significant a byte of the address, the fewer of its bits count.
const IPV4_MASK = [0x03, 0x0f, 0x3f, 0xff]

/**
 * A node id that fits an IPv4 address (BEP 42), so that nodes which check ids keep us.
 *
 * @param random - 20 bytes; what BEP 42 does not determine is taken from them
 * @throws TypeError where `address` is no IPv4 literal.
 */
export function createNodeId(
  address: string,
  random: Uint8Array = randomBytes(NODE_ID_BYTES),
): Uint8Array {
  const seed = random[NODE_ID_BYTES - 1] ?? 0
  const prefix = prefixFor(address, seed)
  if (prefix === undefined) throw new TypeError(`not an IPv4 address: ${address}`)
  const id = Uint8Array.from(random)
  id[0] = prefix >>> 24
  id[1] = (prefix >>> 16) & 0xff
  id[2] = ((prefix >>> 8) & 0xf8) | ((random[2] ?? 0) & 0x07)
  return id
}

/** Whether a node at the IPv4 address `address` may have this id (BEP 42). */
export function isNodeIdOf(id: Uint8Array, address: string): boolean {
  const prefix = prefixFor(address, id[NODE_ID_BYTES - 1] ?? 0)
  if (prefix === undefined || id.length !== NODE_ID_BYTES) return false
  const [first = 0, second = 0, third = 0] = id
  const found = ((first << 24) | (second << 16) | (third << 8)) >>> 0
  return (found & 0xfffff800) >>> 0 === (prefix & 0xfffff800) >>> 0
}

/** Of its 32 bits the first 21 count. */
function prefixFor(address: string, seed: number): number | undefined {
  const bytes = parseIpAddress(address)
  if (bytes?.length !== 4) return undefined
  const masked = bytes.map((byte, i) => byte & (IPV4_MASK[i] ?? 0))
  masked[0] = (masked[0] ?? 0) | ((seed & 0x07) << 5)
  return crc32c(masked)
}
