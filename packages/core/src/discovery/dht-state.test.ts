import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { mutationsOf, propertyOptions } from '../../../../test/support/property.ts'
import { isIsthmusError } from '../errors.ts'
import { encodeDhtState, MAX_SAVED_NODES, parseDhtState } from './dht-state.ts'

const id = new Uint8Array(20).fill(7)
const nodes = [
  { host: '192.0.2.1', port: 6881 },
  { host: '198.51.100.2', port: 65_535 },
]

describe('the saved state of a DHT node', () => {
  test('comes back as it was', () => {
    expect(parseDhtState(encodeDhtState({ id, nodes }))).toEqual({ id, nodes })
    expect(parseDhtState(encodeDhtState({ id, nodes: [] }))).toEqual({ id, nodes: [] })
  })

  test('is bounded', () => {
    const many = Array.from({ length: 1000 }, (_, i) => ({ host: '192.0.2.1', port: i + 1 }))
    const bytes = encodeDhtState({ id, nodes: many })
    expect(bytes.length).toBeLessThanOrEqual(1024)
    expect(parseDhtState(bytes).nodes).toEqual(many.slice(0, MAX_SAVED_NODES))
  })

  test('leaves IPv6 out', () => {
    const mixed = [{ host: '2001:db8::1', port: 1 }, ...nodes]
    expect(parseDhtState(encodeDhtState({ id, nodes: mixed })).nodes).toEqual(nodes)
  })

  test('of anything else is refused with one code', () => {
    const samples = [encodeDhtState({ id, nodes }), new Uint8Array(5000).fill(0x6c)]
    const input = fc.oneof(mutationsOf(samples), fc.uint8Array({ maxLength: 100 }))
    fc.assert(
      fc.property(input, (bytes) => {
        try {
          const state = parseDhtState(bytes)
          if (state.id.length !== 20 || state.nodes.length > 128) throw new Error('out of bounds')
        } catch (error) {
          if (!isIsthmusError(error, 'ISTHMUS_DISCOVERY_FAILED')) throw error
        }
      }),
      propertyOptions('saved DHT states'),
    )
  }, 60_000)

  test.each([
    ['nothing', ''],
    ['a list', 'le'],
    ['another version', 'd2:id20:aaaaaaaaaaaaaaaaaaaa5:nodes0:7:versioni2ee'],
    ['a short id', 'd2:id19:aaaaaaaaaaaaaaaaaaa5:nodes0:7:versioni1ee'],
    ['half a node', 'd2:id20:aaaaaaaaaaaaaaaaaaaa5:nodes3:abc7:versioni1ee'],
  ])('is not %s', (_, text) => {
    expect(() => parseDhtState(Buffer.from(text))).toThrow(
      expect.objectContaining({ code: 'ISTHMUS_DISCOVERY_FAILED' }),
    )
  })
})
