import { expect, test } from 'vitest'
import { decodeBase32 } from './base32.ts'

// RFC 4648 §10, without the padding.
test.each([
  ['', ''],
  ['MY', 'f'],
  ['MZXQ', 'fo'],
  ['MZXW6', 'foo'],
  ['MZXW6YQ', 'foob'],
  ['mzxw6ytb', 'fooba'],
  ['MZXW6YTBOI', 'foobar'],
])('%j decodes to %j', (text, expected) => {
  expect(decodeBase32(text)).toEqual(Uint8Array.from(Buffer.from(expected)))
})

test.each(['M', 'MZX', 'MZ', 'M1', 'M8', 'MY======', 'M Y', 'MZXW6Y\u0131B'])(
  '%j is refused',
  (text) => {
    expect(decodeBase32(text)).toBeUndefined()
  },
)
