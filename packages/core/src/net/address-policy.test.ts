import { BlockList } from 'node:net'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { propertyOptions } from '../../../../test/support/property.ts'
import { AddressPolicy } from './address-policy.ts'
import { formatIpAddress } from './ip-address.ts'

const special = [
  '0.0.0.0',
  '0.255.255.255',
  '10.0.0.0',
  '10.255.255.255',
  '100.64.0.0',
  '100.127.255.255',
  '127.0.0.1',
  '127.255.255.255',
  '168.63.129.16',
  '169.254.0.0',
  '169.254.169.254',
  '172.16.0.0',
  '172.31.255.255',
  '192.0.0.0',
  '192.0.0.192',
  '192.0.2.1',
  '192.88.99.1',
  '192.168.0.0',
  '192.168.255.255',
  '198.18.0.0',
  '198.19.255.255',
  '198.51.100.7',
  '203.0.113.7',
  '224.0.0.1',
  '239.255.255.255',
  '240.0.0.1',
  '255.255.255.255',
  '::',
  '::1',
  '::127.0.0.1',
  '::8.8.8.8',
  '::ffff:127.0.0.1',
  '::ffff:7f00:1',
  '::ffff:10.0.0.1',
  '::ffff:0:8.8.8.8',
  '64:ff9b::10.0.0.1',
  '64:ff9b::8.8.8.8',
  '64:ff9b:1::8.8.8.8',
  '100::1',
  '2001::1',
  '2001:0:4136:e378:8000:63bf:3fff:fdd2',
  '2001:db8::1',
  '2002:7f00:1::',
  '2002:808:808::',
  '3fff::1',
  '5f00::1',
  'fc00::1',
  'fd00:ec2::254',
  'fe80::1',
  'febf::1',
  'fec0::1',
  'ff02::1',
  'ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff',
]

const publicAddresses = [
  '1.1.1.1',
  '8.8.8.8',
  '9.255.255.255',
  '11.0.0.0',
  '100.63.255.255',
  '100.128.0.0',
  '126.255.255.255',
  '128.0.0.0',
  '169.253.255.255',
  '172.15.255.255',
  '172.32.0.0',
  '192.0.1.0',
  '192.167.255.255',
  '192.169.0.0',
  '198.17.255.255',
  '198.20.0.0',
  '223.255.255.255',
  '::ffff:8.8.8.8',
  '2001:200::1',
  '2001:4860:4860::8888',
  '2001:db7:ffff::1',
  '2003::1',
  '2606:4700:4700::1111',
  '3ffe:ffff::1',
]

const noLiterals = [
  '',
  'localhost',
  'example.com',
  '127.1',
  '[::1]',
  '1.1.1.1:80',
  'fe80::1%lo',
  '2606:4700::1%1',
]

describe('the address policy', () => {
  test.each(special)('denies %s', (address) => {
    expect(new AddressPolicy().allows(address)).toBe(false)
    expect(new AddressPolicy().isPublic(address)).toBe(false)
  })

  test.each(publicAddresses)('allows %s', (address) => {
    expect(new AddressPolicy().allows(address)).toBe(true)
    expect(new AddressPolicy().isPublic(address)).toBe(true)
  })

  test.each(noLiterals)('denies %j, which is no address', (address) => {
    const policy = new AddressPolicy({ allow: ['0.0.0.0/0', '::/0'] })
    expect(policy.allows(address)).toBe(false)
    expect(policy.isPublic(address)).toBe(false)
  })
})

describe('a range that is allowed', () => {
  test.each([
    ['127.0.0.0/8', '127.1.2.3', '10.0.0.1'],
    ['10.1.2.3', '10.1.2.3', '10.1.2.4'],
    ['10.128.0.0/9', '10.255.0.1', '10.127.255.255'],
    ['0.0.0.0/0', '192.168.1.1', '::1'],
    ['::1', '::1', '::2'],
    ['::/0', 'fe80::1', '10.0.0.1'],
    ['fd00::/8', 'fd12:3456::1', 'fc00::1'],
    ['127.0.0.1/32', '::ffff:127.0.0.1', '::ffff:127.0.0.2'],
    ['::ffff:127.0.0.0/104', '127.9.9.9', '10.0.0.1'],
    ['64:ff9b::/96', '64:ff9b::a00:1', '10.0.0.1'],
  ])('%s admits %s and not %s', (range, inside, outside) => {
    const policy = new AddressPolicy({ allow: [range] })
    expect(policy.allows(inside)).toBe(true)
    expect(policy.isPublic(inside)).toBe(false)
    expect(policy.allows(outside)).toBe(false)
  })

  test.each([
    '',
    'localhost',
    '10.0.0.0/',
    '10.0.0.0/x',
    '10.0.0.0/-1',
    '10.0.0/8',
    '10.0.0.0/8/8',
    'fe80::1%lo/64',
    '10.0.0.0/ 8',
  ])('cannot be spelled %j', (range) => {
    expect(() => new AddressPolicy({ allow: [range] })).toThrow(TypeError)
  })

  test.each(['10.0.0.0/33', '::/129', '::ffff:10.0.0.0/95'])(
    'cannot reach as far as %s',
    (range) => {
      expect(() => new AddressPolicy({ allow: [range] })).toThrow(RangeError)
    },
  )

  test('holds what the platform says that it holds', { timeout: 60_000 }, () => {
    // Special addresses only, so that nothing but the range decides; alike, so that both happen.
    const ipv4 = fc.tuple(fc.constant(10), fc.constantFrom(0, 1, 128), fc.nat(255), fc.nat(255))
    const ipv6 = fc
      .array(fc.constantFrom(0, 0, 1, 128), { minLength: 15, maxLength: 15 })
      .map((rest) => [0xfd, ...rest])
    const pair = fc.oneof(fc.tuple(ipv4, ipv4), fc.tuple(ipv6, ipv6))
    let inside = 0
    fc.assert(
      fc.property(pair, fc.nat(128), ([network, address], bits) => {
        const [base, other] = [network, address].map((b) => formatIpAddress(Uint8Array.from(b)))
        const prefix = network.length === 4 ? bits % 33 : bits
        const reference = new BlockList()
        const family = network.length === 4 ? 'ipv4' : 'ipv6'
        reference.addSubnet(base ?? '', prefix, family)
        const expected = reference.check(other ?? '', family)
        if (expected) inside++
        const policy = new AddressPolicy({ allow: [`${base}/${prefix}`] })
        return policy.allows(other ?? '') === expected
      }),
      propertyOptions('address ranges'),
    )
    expect(inside).toBeGreaterThan(0)
  })
})
