import { describe, expect, test } from 'vitest'
import { isIsthmusError } from '../errors.ts'
import {
  infoHashBytes,
  infoHashV1FromBytes,
  infoHashV2FromBytes,
  parseInfoHash,
  primaryInfoHash,
  sameTorrent,
  type TorrentId,
  torrentIdOf,
  wireInfoHash,
} from './info-hash.ts'

const V1 = '0123456789abcdef0123456789abcdef01234567'
const V2 = '00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff'
const BASE32 = 'AERUKZ4JVPG66AJDIVTYTK6N54ASGRLH'
const hybrid: TorrentId = { ...torrentIdOf(parseInfoHash(V1)), ...torrentIdOf(parseInfoHash(V2)) }

describe('parseInfoHash', () => {
  test.each([V1, V1.toUpperCase(), BASE32, BASE32.toLowerCase()])('reads %s', (text) => {
    expect(parseInfoHash(text)).toBe(V1)
  })

  test('reads v2 hashes of either case', () => {
    expect(parseInfoHash(V2.toUpperCase())).toBe(V2)
  })

  test.each([
    '',
    V1.slice(1),
    `${V1}0`,
    `${V1.slice(1)}g`,
    `${V1}\n`,
    ` ${V1.slice(1)}`,
    `${V2}00`,
    BASE32.slice(1),
    `1${BASE32.slice(1)}`,
    `8${BASE32.slice(1)}`,
    '\u0131'.repeat(32),
  ])('refuses %j', (text) => {
    expect(() => parseInfoHash(text)).toThrow(
      expect.objectContaining({ code: 'ISTHMUS_INFO_HASH_INVALID' }),
    )
  })
})

describe('hashes of a torrent', () => {
  test('bytes become the hash that they were written from', () => {
    expect(infoHashV1FromBytes(infoHashBytes(parseInfoHash(V1)))).toBe(V1)
    expect(infoHashV2FromBytes(infoHashBytes(parseInfoHash(V2)))).toBe(V2)
  })

  test('bytes of another length are refused', () => {
    for (const length of [0, 19, 21, 32]) {
      let error: unknown
      try {
        infoHashV1FromBytes(new Uint8Array(length))
      } catch (thrown) {
        error = thrown
      }
      expect(isIsthmusError(error, 'ISTHMUS_INFO_HASH_INVALID')).toBe(true)
    }
    expect(() => infoHashV2FromBytes(new Uint8Array(20))).toThrow()
  })

  test('the wire knows a torrent by v1, or by the first 20 bytes of v2', () => {
    const { v2 } = hybrid
    expect(Buffer.from(wireInfoHash(hybrid)).toString('hex')).toBe(V1)
    expect(Buffer.from(wireInfoHash({ v2 })).toString('hex')).toBe(V2.slice(0, 40))
    expect(primaryInfoHash(hybrid)).toBe(V1)
    expect(primaryInfoHash({ v2 })).toBe(V2)
  })

  test('ids that share one of their hashes are the same torrent', () => {
    const { v1, v2 } = hybrid
    expect(sameTorrent(hybrid, { v1 })).toBe(true)
    expect(sameTorrent({ v2 }, hybrid)).toBe(true)
    expect(sameTorrent({ v1 }, { v2 })).toBe(false)
    expect(sameTorrent({}, {})).toBe(false)
  })
})
