import { expect, test } from 'vitest'
import { readFirstSegment } from './first-segment.ts'

const hex = '0123456789abcdef0123456789abcdef01234567'

test.each([
  [hex, hex],
  [hex.toUpperCase(), hex],
  ['ab'.repeat(32), 'ab'.repeat(32)],
  ['AERUKZ4JVPG66AJDIVTYTK6N54ASGRLH', hex],
])('%s is an info hash', (segment, infoHash) => {
  expect(readFirstSegment(segment)).toEqual({ kind: 'torrent', infoHash })
})

test.each(['', 'api', 'healthz', 'readyz', 'data', 'fileState', 'announce', 'openapi.json'])(
  '%s is a word of ours',
  (word) => {
    expect(readFirstSegment(word)).toEqual({ kind: 'word', word })
  },
)

test.each([
  hex.slice(1),
  `${hex}0`,
  '0'.repeat(20),
  'a'.repeat(63),
  'aerukz4jvpg66ajdivtytk6n54asgrl',
])('%s looks like a mangled info hash', (segment) => {
  const read = () => readFirstSegment(segment)
  expect(read).toThrow(expect.objectContaining({ code: 'ISTHMUS_INFO_HASH_INVALID' }))
})

test.each(['favicon.ico', 'a'.repeat(19), 'abcdefghijklmnopqrstuvwxyzabcd', '__proto__', 'API'])(
  '%s is nothing',
  (segment) => {
    const read = () => readFirstSegment(segment)
    expect(read).toThrow(expect.objectContaining({ code: 'ISTHMUS_ROUTE_UNKNOWN' }))
  },
)
