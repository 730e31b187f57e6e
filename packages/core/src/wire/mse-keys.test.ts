import { createHash } from 'node:crypto'
import { describe, expect, test } from 'vitest'
import { isIsthmusError } from '../errors.ts'
import { KeyExchange, maskHash, obfuscatedHash } from './mse-keys.ts'

const PRIME =
  'ffffffffffffffffc90fdaa22168c234c4c6628b80dc1cd129024e088a67cc74020bbea63b139b22514a08798e3404dd' +
  'ef9519b3cd3a431b302b0a6df25f14374fe1356d6d51c245e485b576625e7ec6f44c42e9a63a36210000000000090563'

const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString('hex')
const fromHex = (text: string) => Uint8Array.from(Buffer.from(text, 'hex'))
const number = (value: bigint) => fromHex(value.toString(16).padStart(192, '0'))
const exchange = (fill: string) => new KeyExchange((length) => fromHex(fill.repeat(length)))

// What is expected here was computed by another program, in another language.
describe('KeyExchange', () => {
  test('has the public key of its private one', () => {
    expect(hex(exchange('11').publicKey)).toBe(
      '3476dc8d123697fcc69e9121618a08514ffa536506df209ce956ad3cf819f76f3fcebc46f4e8be364ec8f1445b9dbf8a' +
        '9528ca7bfbc89ad13f28137640a2cfd1055d55d5cc6676d18b410e086631309e95fa7b0dae2b8379186b17ad3472c755',
    )
  })

  test('comes to the same secret on both sides', () => {
    const [one, other] = [exchange('11'), exchange('22')]
    const secret = one.secretWith(other.publicKey)
    expect(hex(secret)).toBe(
      'ef037082d79ae7baeddb00b3ba4f24ec8a79c06c927258e89e01c46f8249187e672c919b9ff29abeb97fd230f6302fb1' +
        '21a5bad27c4c34e48722446a121d5e213b13e9eeb6dd23716be80c8a1cf31af29589c5245e74b3b8713d6b229ce05731',
    )
    expect(other.secretWith(one.publicKey)).toEqual(secret)
  })

  test('a secret that begins with a zero byte has 96 bytes too', () => {
    const one = new KeyExchange(() => fromHex('00f5'.repeat(10)))
    const secret = one.secretWith(exchange('22').publicKey)
    expect(secret.length).toBe(96)
    expect(secret[0]).toBe(0)
    expect(createHash('sha1').update(secret).digest('hex')).toBe(
      '46306c4a814b5512592d48e45434dbfd7501c1f6',
    )
  })

  const prime = BigInt(`0x${PRIME}`)
  test.each([
    ['0', 0n],
    ['1', 1n],
    ['the prime less 1', prime - 1n],
    ['the prime', prime],
    ['the prime and 1', prime + 1n],
    ['the largest', (1n << 768n) - 1n],
  ])('refuses the public key %s', (_, key) => {
    const error = caught(() => exchange('11').secretWith(number(key)))
    expect(isIsthmusError(error, 'ISTHMUS_WIRE_PROTOCOL')).toBe(true)
  })

  test.each([
    ['2', 2n],
    ['the prime less 2', prime - 2n],
  ])('takes the public key %s', (_, key) => {
    expect(exchange('11').secretWith(number(key)).length).toBe(96)
  })
})

describe('obfuscatedHash', () => {
  const infoHash = fromHex('000102030405060708090a0b0c0d0e0f10111213')

  test('is the hash of req2 and the info hash', () => {
    expect(hex(obfuscatedHash(infoHash))).toBe('4321b2c3fbde0a4fa12ca762484f5b8dc9cf4b5f')
  })

  test('is masked and unmasked by the same secret, and by no other', () => {
    const hashed = obfuscatedHash(infoHash)
    const secret = new Uint8Array(96).fill(1)
    const masked = maskHash(hashed, secret)
    expect(masked).not.toEqual(hashed)
    expect(maskHash(masked, secret)).toEqual(hashed)
    expect(maskHash(masked, new Uint8Array(96).fill(2))).not.toEqual(hashed)
  })
})

function caught(run: () => unknown): unknown {
  try {
    return run()
  } catch (error) {
    return error
  }
}
