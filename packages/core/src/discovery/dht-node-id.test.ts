import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { propertyOptions } from '../../../../test/support/property.ts'
import { createNodeId, isNodeIdOf } from './dht-node-id.ts'

const bytes = (hex: string) => Uint8Array.from(Buffer.from(hex, 'hex'))

// The vectors of BEP 42.
const vectors = [
  ['124.31.75.21', '5fbfbff10c5d6a4ec8a88e4c6ab4c28b95eee401'],
  ['21.75.31.124', '5a3ce9c14e7a08645677bbd1cfe7d8f956d53256'],
  ['65.23.51.170', 'a5d43220bc8f112a3d426c84764f8c2a1150e616'],
  ['84.124.73.14', '1b0321dd1bb1fe518101ceef99462b947a01ff41'],
  ['43.213.53.83', 'e56f6cbf5b7c4be0237986d5243b87aa6d51305a'],
] as const

describe('node ids of BEP 42', () => {
  test.each(vectors)('of %s', (address, id) => {
    expect(isNodeIdOf(bytes(id), address)).toBe(true)
    expect(Buffer.from(createNodeId(address, bytes(id))).toString('hex')).toBe(id)
  })

  test.each(vectors)('the id of %s with any of its 21 bits changed does not fit', (address, id) => {
    for (let bit = 0; bit < 21; bit++) {
      const changed = bytes(id)
      changed[bit >> 3] = (changed[bit >> 3] ?? 0) ^ (0x80 >> (bit & 7))
      expect(isNodeIdOf(changed, address)).toBe(false)
    }
  })

  test('every id that is made fits its address', () => {
    const address = fc.ipV4()
    const random = fc.uint8Array({ minLength: 20, maxLength: 20 })
    fc.assert(
      fc.property(address, random, (host, given) => {
        const id = createNodeId(host, given)
        if (id.length !== 20 || !isNodeIdOf(id, host)) throw new Error('does not fit')
      }),
      propertyOptions('node ids'),
    )
  }, 60_000)

  test('two ids of one address differ', () => {
    expect(createNodeId('124.31.75.21')).not.toEqual(createNodeId('124.31.75.21'))
  })

  test.each(['::1', 'example.org', '1.2.3', ''])('%j is no IPv4 address', (address) => {
    expect(() => createNodeId(address)).toThrow(TypeError)
    expect(isNodeIdOf(new Uint8Array(20), address)).toBe(false)
  })
})
