import { isIPv6 } from 'node:net'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { propertyOptions } from '../../../../test/support/property.ts'
import { formatIpAddress, parseIpAddress } from './ip-address.ts'

describe('an IP literal', () => {
  test.each([
    ['192.0.2.1', '192.0.2.1'],
    ['::', '::'],
    ['::1', '::1'],
    ['1::', '1::'],
    ['2001:DB8:0:0:1:0:0:1', '2001:db8::1:0:0:1'],
    ['2001:db8:0:1:1:1:1:1', '2001:db8:0:1:1:1:1:1'],
    ['1:0:0:2:0:0:0:3', '1:0:0:2::3'],
    ['64:ff9b::192.0.2.33', '64:ff9b::c000:221'],
    ['::ffff:192.0.2.33', '192.0.2.33'],
    ['::FFFF:c000:221', '192.0.2.33'],
    ['0:0:0:0:0:ffff:c000:221', '192.0.2.33'],
    ['::192.0.2.33', '::c000:221'],
  ])('%s has the canonical spelling %s', (text, canonical) => {
    const bytes = parseIpAddress(text)
    expect(bytes && formatIpAddress(bytes)).toBe(canonical)
  })

  test.each([
    '',
    'localhost',
    '127.1',
    '0x7f.0.0.1',
    '0177.0.0.1',
    '2130706433',
    '1.2.3.4.',
    '1.2.3.256',
    ' 1.2.3.4',
    '10.0.0.1:80',
    '[::1]',
    'fe80::1%eth0',
    '::ffff:1.2.3.4%1',
    ':::',
    '1::2::3',
    '10.0.0.1:cafe',
  ])('%j is none', (text) => {
    expect(parseIpAddress(text)).toBeUndefined()
  })

  test('is read back as the bytes that it was written from', { timeout: 60_000 }, () => {
    const bytes = fc.oneof(
      fc.uint8Array({ minLength: 4, maxLength: 4 }),
      fc.array(fc.constantFrom(0, 0, 0, 1, 255, 0x20), { minLength: 16, maxLength: 16 }),
      fc.uint8Array({ minLength: 16, maxLength: 16 }),
    )
    fc.assert(
      fc.property(bytes, (values) => {
        const text = formatIpAddress(Uint8Array.from(values))
        const again = parseIpAddress(text)
        if (again === undefined || formatIpAddress(again) !== text) return false
        if (!isIPv6(text)) return true
        // The platform agrees on the canonical spelling.
        return Buffer.from(values).equals(again) && new URL(`http://[${text}]`).host === `[${text}]`
      }),
      propertyOptions('IP addresses'),
    )
  })
})
