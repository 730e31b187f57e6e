import { describe, expect, test } from 'vitest'
import { decodeCompactPeers, formatPeerAddress, parsePeerAddress } from './peer-address.ts'

describe('a peer address', () => {
  test.each([
    ['192.0.2.1:6881', { host: '192.0.2.1', port: 6881 }, '192.0.2.1:6881'],
    ['[2001:DB8:0::1]:1', { host: '2001:db8::1', port: 1 }, '[2001:db8::1]:1'],
    ['[::ffff:192.0.2.1]:65535', { host: '192.0.2.1', port: 65535 }, '192.0.2.1:65535'],
  ])('is read from %s', (text, address, canonical) => {
    expect(parsePeerAddress(text)).toEqual(address)
    expect(formatPeerAddress(address)).toBe(canonical)
  })

  test.each([
    '',
    'localhost:80',
    '192.0.2.1',
    '192.0.2.1:',
    '192.0.2.1:0',
    '192.0.2.1:65536',
    '192.0.2.1:+80',
    '192.0.2.1:8e1',
    '192.0.2.1:80 ',
    '192.0.2.256:80',
    '2001:db8::1:80',
    '[192.0.2.1]:80',
    '[fe80::1%lo]:80',
    '[2001:db8::1]',
  ])('is not %j', (text) => {
    expect(() => parsePeerAddress(text)).toThrow(
      expect.objectContaining({ code: 'ISTHMUS_PEER_ADDRESS_INVALID' }),
    )
  })
})

describe('compact peers', () => {
  test('of IPv4 take six bytes each', () => {
    const bytes = Uint8Array.of(192, 0, 2, 1, 0x1a, 0xe1, 192, 0, 2, 2, 0, 1)
    expect(decodeCompactPeers(bytes, 4)).toEqual([
      { host: '192.0.2.1', port: 6881 },
      { host: '192.0.2.2', port: 1 },
    ])
  })

  test('of IPv6 take eighteen bytes each', () => {
    const bytes = new Uint8Array(36)
    bytes.set([0x20, 1, 0xd, 0xb8], 0)
    bytes.set([1, 0x1a, 0xe1], 15)
    bytes.set([0xff, 0xff, 192, 0, 2, 1, 0, 80], 18 + 10)
    expect(decodeCompactPeers(bytes, 6)).toEqual([
      { host: '2001:db8::1', port: 6881 },
      { host: '192.0.2.1', port: 80 },
    ])
  })

  test('leave out port 0 and a peer that is cut off', () => {
    expect(decodeCompactPeers(Uint8Array.of(1, 2, 3, 4, 0, 0, 1, 2, 3, 4, 5), 4)).toEqual([])
  })
})
