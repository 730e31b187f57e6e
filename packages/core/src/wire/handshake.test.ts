import { describe, expect, test } from 'vitest'
import {
  handshakeBytes,
  infoHashSample,
  peerIdSample,
} from '../../../../test/support/wire-messages.ts'
import {
  decodeHandshake,
  HANDSHAKE_LENGTH,
  type Handshake,
  isHandshakeStart,
  supportsExtensions,
  supportsFast,
  supportsV2,
} from './handshake.ts'

describe('a handshake', () => {
  test('is read with all of its reserved bits', () => {
    const reserved = Buffer.from('ff00ff55aa10ff94', 'hex')
    const bytes = handshakeBytes({ reserved })
    expect(bytes).toHaveLength(HANDSHAKE_LENGTH)
    const handshake = decode(bytes)
    expect(hex(handshake.reserved)).toBe(hex(reserved))
    expect(hex(handshake.infoHash)).toBe(hex(infoHashSample))
    expect(hex(handshake.peerId)).toBe(hex(peerIdSample))
  })

  test('is a copy: its buffer may be used again', () => {
    const bytes = new Uint8Array(handshakeBytes({ fast: true }))
    const handshake = decode(bytes)
    bytes.fill(0)
    expect(hex(handshake.infoHash)).toBe(hex(infoHashSample))
    expect(hex(handshake.peerId)).toBe(hex(peerIdSample))
    expect(supportsFast(handshake)).toBe(true)
  })

  test('of another protocol is none', () => {
    for (let index = 0; index < 20; index++) {
      const bytes = handshakeBytes()
      bytes[index] = (bytes[index] ?? 0) ^ 0x20
      expect(decodeHandshake(bytes)).toBeUndefined()
    }
  })
})

describe('the start of a handshake', () => {
  test('is recognised after any number of bytes', () => {
    const bytes = handshakeBytes()
    for (let length = 0; length <= bytes.length; length++) {
      expect(isHandshakeStart(bytes.subarray(0, length))).toBe(true)
    }
  })

  test('is refused at its first wrong byte', () => {
    for (let index = 0; index < 20; index++) {
      const bytes = handshakeBytes()
      bytes[index] = (bytes[index] ?? 0) ^ 1
      expect(isHandshakeStart(bytes.subarray(0, index))).toBe(true)
      expect(isHandshakeStart(bytes.subarray(0, index + 1))).toBe(false)
    }
  })
})

describe('the reserved bits', () => {
  const tests = [
    ['the extension protocol (BEP 10)', supportsExtensions, 5, 0x10],
    ['the fast extension (BEP 6)', supportsFast, 7, 0x04],
    ['the v2 torrent (BEP 52)', supportsV2, 7, 0x10],
  ] as const

  test.each(tests)('say %s with one bit, and with no other', (_, supports, byte, bit) => {
    const only = new Uint8Array(8)
    only[byte] = bit
    expect(supports(decode(handshakeBytes({ reserved: only })))).toBe(true)
    const others = new Uint8Array(8).fill(0xff)
    others[byte] = 0xff ^ bit
    expect(supports(decode(handshakeBytes({ reserved: others })))).toBe(false)
  })
})

function decode(bytes: Uint8Array): Handshake {
  const handshake = decodeHandshake(bytes)
  if (handshake === undefined) throw new Error('no handshake')
  return handshake
}

function hex(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('hex')
}
