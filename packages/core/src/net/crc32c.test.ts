import { expect, test } from 'vitest'
import { crc32c } from './crc32c.ts'

test.each([
  ['nothing', '', 0],
  ['the usual check', Buffer.from('123456789').toString('hex'), 0xe3069283],
  ['32 zeros (RFC 3720)', '00'.repeat(32), 0x8a9136aa],
  ['32 times 0xff (RFC 3720)', 'ff'.repeat(32), 0x62a8ab43],
])('the CRC-32C of %s', (_, hex, expected) => {
  expect(crc32c(Buffer.from(hex, 'hex'))).toBe(expected)
})
