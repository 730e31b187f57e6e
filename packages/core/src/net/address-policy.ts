import { parseIpAddress } from './ip-address.ts'

export interface AddressPolicyOptions {
  /**
   * CIDR ranges (or single addresses) that are allowed although they are special, as `10.0.0.0/8` or
   * `::1`. @defaultValue none
   */
  readonly allow?: readonly string[] | undefined
}

/**
 * Which addresses that a stranger names may be connected to: those of the public internet, and what
 * `allow` adds. An IPv4-mapped IPv6 address is judged as its IPv4; other forms that carry an IPv4
 * address (IPv4-compatible, NAT64, 6to4, Teredo) are special.
 */
export class AddressPolicy {
  readonly #allow: readonly Cidr[]

  /** @throws TypeError for what is no CIDR, RangeError for a prefix longer than its address. */
  constructor(options: AddressPolicyOptions = {}) {
    this.#allow = (options.allow ?? []).map(parseCidr)
  }

  /** Whether `address` may be connected to. Anything but an IP literal may not. */
  allows(address: string): boolean {
    const bytes = parseIpAddress(address)
    return bytes !== undefined && (isPublicAddress(bytes) || contains(this.#allow, bytes))
  }

  /** Whether `address` is an IP literal of the public internet, whatever `allow` says. */
  isPublic(address: string): boolean {
    const bytes = parseIpAddress(address)
    return bytes !== undefined && isPublicAddress(bytes)
  }
}

interface Cidr {
  readonly bytes: Uint8Array
  readonly prefix: number
}

// IANA IPv4 Special-Purpose Address Registry (RFC 6890 and later), and multicast.
const specialIpv4 = [
  '0.0.0.0/8',
  '10.0.0.0/8',
  '100.64.0.0/10',
  '127.0.0.0/8',
  // The address at which one cloud answers questions about the machine; public by its number alone.
  '168.63.129.16/32',
  '169.254.0.0/16',
  '172.16.0.0/12',
  '192.0.0.0/24',
  '192.0.2.0/24',
  '192.88.99.0/24',
  '192.168.0.0/16',
  '198.18.0.0/15',
  '198.51.100.0/24',
  '203.0.113.0/24',
  '224.0.0.0/4',
  '240.0.0.0/4',
].map(parseCidr)

// RFC 4291 §2.4: what is handed out as global unicast lies in 2000::/3. All else is denied by not
// being in it: ::/96, 64:ff9b::/96, 100::/64, fc00::/7, fe80::/10, fec0::/10, ff00::/8, …
const globalIpv6 = [parseCidr('2000::/3')]

// IANA IPv6 Special-Purpose Address Registry, as far as it lies in 2000::/3.
const specialIpv6 = [
  '2001::/23', // protocol assignments, Teredo (2001::/32) and ORCHID among them
  '2001:db8::/32',
  '2002::/16', // 6to4
  '3fff::/20',
].map(parseCidr)

function isPublicAddress(bytes: Uint8Array): boolean {
  if (bytes.length === 4) return !contains(specialIpv4, bytes)
  return contains(globalIpv6, bytes) && !contains(specialIpv6, bytes)
}

function parseCidr(text: string): Cidr {
  const [address = '', suffix, ...rest] = text.split('/')
  const bytes = parseIpAddress(address)
  if (bytes === undefined || rest.length > 0) throw new TypeError(`not a CIDR range: ${text}`)
  if (suffix === undefined) return { bytes, prefix: bytes.length * 8 }
  if (!/^\d{1,3}$/.test(suffix)) throw new TypeError(`not a CIDR range: ${text}`)
  // A range of mapped addresses counts its bits from the start of the IPv6 address.
  const mappedBits = bytes.length === 4 && address.includes(':') ? 96 : 0
  const prefix = Number(suffix) - mappedBits
  if (prefix < 0 || prefix > bytes.length * 8) {
    throw new RangeError(`the prefix of ${text} does not fit its address`)
  }
  return { bytes, prefix }
}

function contains(ranges: readonly Cidr[], address: Uint8Array): boolean {
  return ranges.some((range) => isWithin(range, address))
}

function isWithin({ bytes, prefix }: Cidr, address: Uint8Array): boolean {
  if (bytes.length !== address.length) return false
  for (let i = 0; i * 8 < prefix; i++) {
    const shift = Math.max(0, 8 - (prefix - i * 8))
    if ((bytes[i] ?? 0) >> shift !== (address[i] ?? 0) >> shift) return false
  }
  return true
}
