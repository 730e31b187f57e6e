import { describe, expect, test } from 'vitest'
import { isMessageLength, MessageId, mayBeLarge } from './message-id.ts'

describe('the length of a message', () => {
  test.each([
    ['choke', 1],
    ['unchoke', 1],
    ['interested', 1],
    ['notInterested', 1],
    ['have', 5],
    ['request', 13],
    ['cancel', 13],
    ['port', 3],
    ['suggest', 5],
    ['haveAll', 1],
    ['haveNone', 1],
    ['reject', 13],
    ['allowedFast', 5],
    ['hashRequest', 49],
    ['hashReject', 49],
  ] as const)('of %s is %i, no more and no less', (name, length) => {
    const id = MessageId[name]
    expect(isMessageLength(id, length)).toBe(true)
    expect(isMessageLength(id, length - 1)).toBe(false)
    expect(isMessageLength(id, length + 1)).toBe(false)
    expect(isMessageLength(id, length + 0x10000)).toBe(false)
  })

  test.each([
    ['bitfield', 2],
    ['piece', 10],
    ['extended', 2],
    ['hashes', 81],
  ] as const)('of %s is %i or more', (name, least) => {
    const id = MessageId[name]
    expect(isMessageLength(id, least - 1)).toBe(false)
    expect(isMessageLength(id, least)).toBe(true)
    expect(isMessageLength(id, least + 16_384)).toBe(true)
  })

  test('of an unknown message is its id at least', () => {
    for (const id of [10, 12, 18, 19, 24, 255]) {
      expect(isMessageLength(id, 1)).toBe(true)
      expect(isMessageLength(id, 9999)).toBe(true)
      expect(isMessageLength(id, 0)).toBe(false)
    }
  })

  test('every message that has a name has a length of its own', () => {
    const anyLength = Object.values(MessageId).filter((id) => isMessageLength(id, 1))
    const single = [
      'choke',
      'unchoke',
      'interested',
      'notInterested',
      'haveAll',
      'haveNone',
    ] as const
    expect(anyLength).toEqual(single.map((name) => MessageId[name]))
  })
})

test('only bitfields and extended messages may be larger than a block', () => {
  const large = Array.from({ length: 256 }, (_, id) => id).filter(mayBeLarge)
  expect(large).toEqual([MessageId.bitfield, MessageId.extended])
})
