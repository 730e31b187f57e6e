import { describe, expect, test } from 'vitest'
import { acceptsKind, connectionKind, dialKinds, payloadMethods } from './obfuscation-policy.ts'

const opening = Buffer.from('\x13BitTorrent protocol', 'latin1')

describe('connectionKind', () => {
  test('a BitTorrent handshake is plain as soon as its name is whole', () => {
    expect(connectionKind(opening)).toBe('plain')
    expect(connectionKind(Buffer.concat([opening, Buffer.alloc(48)]))).toBe('plain')
  })

  test('the start of one may become either', () => {
    for (let length = 0; length < opening.length; length++) {
      expect(connectionKind(opening.subarray(0, length))).toBeUndefined()
    }
  })

  test('one other byte in its place makes it obfuscated, at once', () => {
    for (let at = 0; at < opening.length; at++) {
      const other = Buffer.from(opening)
      other[at] = (other[at] ?? 0) ^ 1
      expect(connectionKind(other)).toBe('obfuscated')
      expect(connectionKind(other.subarray(0, at + 1))).toBe('obfuscated')
    }
  })
})

describe('policies', () => {
  test('prefer dials obfuscated, then plain, and takes both', () => {
    expect(dialKinds('prefer')).toEqual(['obfuscated', 'plain'])
    expect(acceptsKind('prefer', 'plain')).toBe(true)
    expect(acceptsKind('prefer', 'obfuscated')).toBe(true)
  })

  test('require dials and takes only obfuscated connections', () => {
    expect(dialKinds('require')).toEqual(['obfuscated'])
    expect(acceptsKind('require', 'plain')).toBe(false)
    expect(acceptsKind('require', 'obfuscated')).toBe(true)
  })

  test('refuse dials and takes only plain connections', () => {
    expect(dialKinds('refuse')).toEqual(['plain'])
    expect(acceptsKind('refuse', 'plain')).toBe(true)
    expect(acceptsKind('refuse', 'obfuscated')).toBe(false)
  })

  test('who requires obfuscation has the payload encrypted, unless told otherwise', () => {
    expect(payloadMethods({})).toEqual(['plaintext', 'rc4'])
    expect(payloadMethods({ policy: 'prefer' })).toEqual(['plaintext', 'rc4'])
    expect(payloadMethods({ policy: 'require' })).toEqual(['rc4'])
    expect(payloadMethods({ policy: 'require', methods: ['plaintext'] })).toEqual(['plaintext'])
  })

  test('no method at all is a RangeError', () => {
    expect(() => payloadMethods({ methods: [] })).toThrow(RangeError)
  })
})
