import { isIPv4, isIPv6 } from 'node:net'

/**
 * The 4 or 16 bytes of an IP literal; undefined for anything else, zone ids included. An
 * IPv4-mapped IPv6 address (RFC 4291 §2.5.5.2) is the IPv4 address that it stands for.
 */
export function parseIpAddress(text: string): Uint8Array | undefined {
  if (isIPv4(text)) return Uint8Array.from(text.split('.'), Number)
  if (!isIPv6(text) || text.includes('%')) return undefined
  return unmapped(parseIpv6(text))
}

/** The canonical text (RFC 5952) of 4 or 16 bytes; an IPv4-mapped IPv6 address as its IPv4. */
export function formatIpAddress(bytes: Uint8Array): string {
  const address = unmapped(bytes)
  if (address.length === 4) return address.join('.')
  if (address.length !== 16) throw new RangeError(`an address has no ${address.length} bytes`)
  const groups = Array.from({ length: 8 }, (_, i) => groupAt(address, i))
  const zeros = longestZeros(groups)
  const text = (from: number, to: number) =>
    groups
      .slice(from, to)
      .map((group) => group.toString(16))
      .join(':')
  if (zeros === undefined) return text(0, 8)
  return `${text(0, zeros.start)}::${text(zeros.end, 8)}`
}

function unmapped(bytes: Uint8Array): Uint8Array {
  if (bytes.length !== 16) return bytes
  for (let i = 0; i < 12; i++) {
    if (bytes[i] !== (i < 10 ? 0 : 0xff)) return bytes
  }
  return bytes.slice(12)
}

/** @param text - checked by `isIPv6` before, without a zone id */
function parseIpv6(text: string): Uint8Array {
  const [head = '', tail] = text.split('::')
  const front = groupsOf(head)
  const back = tail === undefined ? [] : groupsOf(tail)
  const groups = [...front, ...new Array<number>(8 - front.length - back.length).fill(0), ...back]
  return Uint8Array.from(groups.flatMap((group) => [group >> 8, group & 0xff]))
}

function groupsOf(text: string): number[] {
  if (text === '') return []
  return text.split(':').flatMap((group) => {
    if (!group.includes('.')) return [Number.parseInt(group, 16)]
    const [a = 0, b = 0, c = 0, d = 0] = group.split('.').map(Number)
    return [(a << 8) | b, (c << 8) | d]
  })
}

function groupAt(bytes: Uint8Array, index: number): number {
  return ((bytes[index * 2] ?? 0) << 8) | (bytes[index * 2 + 1] ?? 0)
}

/** RFC 5952 §4.2: the first of the longest runs of zero groups, none that is a single group. */
function longestZeros(groups: readonly number[]): { start: number; end: number } | undefined {
  let best = { start: 0, end: 1 }
  for (let start = 0; start < groups.length; start++) {
    let end = start
    while (groups[end] === 0) end++
    if (end - start > best.end - best.start) best = { start, end }
    if (end > start) start = end
  }
  return best.end - best.start > 1 ? best : undefined
}
