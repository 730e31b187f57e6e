import { expect, test } from 'vitest'
import { fileUrl, formatBytes, formatShare } from './format.ts'

test.each([
  [0, '0 bytes'],
  [999, '999 bytes'],
  [1000, '1.0 kB'],
  [1_234_567, '1.2 MB'],
  [5e15, '5000.0 TB'],
])('%i bytes are %s', (bytes, text) => {
  expect(formatBytes(bytes)).toBe(text)
})

test.each([
  [0, '0 %'],
  [0.999, '99 %'],
  [1, '100 %'],
])('a share of %d is %s', (share, text) => {
  expect(formatShare(share)).toBe(text)
})

test('a URL can stand between quotes in a shell', () => {
  expect(fileUrl('http://a', 'ih', "a b/it's 100%/é.mp4")).toBe(
    'http://a/ih/a%20b/it%27s%20100%25/%C3%A9.mp4',
  )
})
