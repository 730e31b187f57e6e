import { describe, expect, test } from 'vitest'
import { Rc4 } from './rc4.ts'

const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString('hex')
const fromHex = (text: string) => Uint8Array.from(Buffer.from(text, 'hex'))
const ascii = (text: string) => Uint8Array.from(Buffer.from(text, 'latin1'))

/** Bytes `offset` to `offset + 16` of the key stream. */
function keyStream(key: string, offset: number): string {
  const cipher = new Rc4(fromHex(key))
  cipher.skip(offset)
  return hex(cipher.apply(new Uint8Array(16)))
}

describe('Rc4', () => {
  test.each([
    ['Key', 'Plaintext', 'bbf316e8d940af0ad3'],
    ['Wiki', 'pedia', '1021bf0420'],
    ['Secret', 'Attack at dawn', '45a01f645fc35b383552544b9bf5'],
  ])('with the key %j makes of %j what is known', (key, plain, expected) => {
    expect(hex(new Rc4(ascii(key)).apply(ascii(plain)))).toBe(expected)
  })

  const short = '0102030405'
  const long = '0102030405060708090a0b0c0d0e0f10'
  test.each([
    [short, 0, 'b2396305f03dc027ccc3524a0a1118a8'],
    [short, 1024, '30abbcc7c20b01609f23ee2d5f6bb7df'],
    [long, 0, '9ac7cc9a609d1ef7b2932899cde41b97'],
    [long, 1024, 'bdf0324e6083dcc6d3cedd3ca8c53c16'],
    [long, 4096, 'a36a4c301ae8ac13610ccbc12256cacc'],
    ['ebb46227c6cc8b37641910833222772a', 1024, 'b515a8c5011754f59003058bdb81514e'],
  ])('is as in RFC 6229 for the key %s at %i', (key, offset, expected) => {
    expect(keyStream(key, offset)).toBe(expected)
  })

  test('is the same stream whatever the lengths and positions of the buffers', () => {
    const whole = new Rc4(fromHex(long)).apply(new Uint8Array(5000))
    for (let seed = 0; seed < 40; seed++) {
      const cipher = new Rc4(fromHex(long))
      const memory = new Uint8Array(5008)
      for (let at = 0, turn = seed; at < 5000; turn++) {
        const length = Math.min((turn * 37) % 211, 5000 - at)
        const bytes = memory.subarray((turn & 7) + at, (turn & 7) + at + length).fill(0)
        expect(hex(cipher.apply(bytes))).toBe(hex(whole.subarray(at, at + length)))
        at += length
      }
    }
  })

  test('changes nothing around the bytes that it is given', () => {
    const memory = new Uint8Array(103).fill(0xaa)
    new Rc4(fromHex(long)).apply(memory.subarray(1, 102))
    expect([memory[0], memory[102]]).toEqual([0xaa, 0xaa])
    expect(memory[1]).not.toBe(0xaa)
  })

  test('undoes itself', () => {
    const plain = ascii('what is said is heard, past sixteen bytes and past thirty-two')
    const cipher = new Rc4(ascii('a key'))
    const sent = cipher.apply(Uint8Array.from(plain))
    expect(hex(sent)).not.toBe(hex(plain))
    expect(new Rc4(ascii('a key')).apply(sent)).toEqual(plain)
  })

  test.each([0, 257])('a key of %i bytes is a RangeError', (length) => {
    expect(() => new Rc4(new Uint8Array(length))).toThrow(RangeError)
  })
})
