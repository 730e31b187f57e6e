import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { Bitfield } from './bitfield.ts'

describe('Bitfield', () => {
  test('the first piece is the most significant bit', () => {
    const bitfield = new Bitfield(10)
    bitfield.set(0)
    bitfield.set(9)
    expect([...bitfield.bytes]).toEqual([0x80, 0x40])
  })

  test('setting and clearing report whether the bit changed, and keep the count', () => {
    const bitfield = new Bitfield(3)
    expect([bitfield.set(1), bitfield.set(1), bitfield.count]).toEqual([true, false, 1])
    expect([bitfield.clear(1), bitfield.clear(1), bitfield.count]).toEqual([true, false, 0])
  })

  test('indices outside of it are never set', () => {
    const bitfield = new Bitfield(3)
    expect([bitfield.set(3), bitfield.set(-1), bitfield.has(3), bitfield.count]).toEqual([
      false,
      false,
      false,
      0,
    ])
  })

  test('a full one has its spare bits zero', () => {
    const bitfield = Bitfield.full(11)
    expect([...bitfield.bytes]).toEqual([0xff, 0xe0])
    expect(bitfield.isFull).toBe(true)
    expect(Bitfield.full(16).bytes).toEqual(Uint8Array.of(0xff, 0xff))
  })

  test('bytes of another length and set spare bits are refused', () => {
    expect(Bitfield.from(Uint8Array.of(0xff), 9)).toBeUndefined()
    expect(Bitfield.from(Uint8Array.of(0xff, 0x80, 0), 9)).toBeUndefined()
    expect(Bitfield.from(Uint8Array.of(0xff, 0xc0), 9)).toBeUndefined()
    expect(Bitfield.from(Uint8Array.of(0xff, 0x80), 9)?.isFull).toBe(true)
    expect(Bitfield.from(new Uint8Array(), 0)?.length).toBe(0)
  })

  test('a bitfield and its copy share nothing', () => {
    const bitfield = new Bitfield(9)
    const copy = bitfield.copy()
    copy.set(8)
    expect([bitfield.has(8), copy.has(8), bitfield.count, copy.count]).toEqual([false, true, 0, 1])
  })

  test('does what a set of indices does, and goes over the wire and back', () => {
    const operation = fc.record({ index: fc.nat(40), set: fc.boolean() })
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 40 }), fc.array(operation), (length, operations) => {
        const bitfield = new Bitfield(length)
        const model = new Set<number>()
        for (const { index, set } of operations) {
          if (set) {
            bitfield.set(index)
            if (index < length) model.add(index)
          } else {
            bitfield.clear(index)
            model.delete(index)
          }
        }
        const back = Bitfield.from(bitfield.bytes, length)
        for (let index = 0; index <= 40; index++) {
          expect(bitfield.has(index)).toBe(model.has(index))
          expect(back?.has(index)).toBe(model.has(index))
        }
        expect([bitfield.count, back?.count]).toEqual([model.size, model.size])
      }),
      { numRuns: 500 },
    )
  })
})
