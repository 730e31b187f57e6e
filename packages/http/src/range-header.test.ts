import type { ByteRange } from '@isthmus/core'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { propertyOptions } from '../../../test/support/property.ts'
import { resolveRanges } from './range-header.ts'

const length = 1000
const all = [{ start: 0, end: 1000 }]

describe('one range', () => {
  test.each<[string, readonly ByteRange[]]>([
    ['bytes=0-0', [{ start: 0, end: 1 }]],
    ['bytes=0-8', [{ start: 0, end: 9 }]],
    ['bytes=999-999', [{ start: 999, end: 1000 }]],
    ['bytes=0-', all],
    ['bytes=0-999', all],
    ['bytes=990-', [{ start: 990, end: 1000 }]],
    ['bytes=990-1990', [{ start: 990, end: 1000 }]],
    ['bytes=0-10001', all],
    ['bytes=-1', [{ start: 999, end: 1000 }]],
    ['bytes=-10', [{ start: 990, end: 1000 }]],
    ['bytes=-1000', all],
    ['bytes=-1001', all],
    ['bytes=0-99999999999999999999999', all],
    ['bytes=-99999999999999999999', all],
    ['bytes=00000000000000000000-0000000000000000000000009', [{ start: 0, end: 10 }]],
    ['Bytes=0-0', [{ start: 0, end: 1 }]],
    ['bytes= \t0-9\t ', [{ start: 0, end: 10 }]],
    ['bytes=0-5,100000-', [{ start: 0, end: 6 }]],
    ['bytes=-0,3-3', [{ start: 3, end: 4 }]],
  ])('%s', (header, ranges) => {
    expect(resolveRanges(header, length)).toEqual(ranges)
  })
})

describe('several ranges', () => {
  test.each<[string, readonly ByteRange[]]>([
    [
      'bytes= 0-9, 20-29',
      [
        { start: 0, end: 10 },
        { start: 20, end: 30 },
      ],
    ],
    [
      'bytes=0-0,,5-5',
      [
        { start: 0, end: 1 },
        { start: 5, end: 6 },
      ],
    ],
    [
      'bytes=-1,0-0',
      [
        { start: 999, end: 1000 },
        { start: 0, end: 1 },
      ],
    ],
    [
      'bytes=0-9,-10,100000-,10-19',
      [
        { start: 0, end: 10 },
        { start: 990, end: 1000 },
        { start: 10, end: 20 },
      ],
    ],
    [
      'bytes=500-700,601-999',
      [
        { start: 500, end: 701 },
        { start: 601, end: 1000 },
      ],
    ],
  ])('%s', (header, ranges) => {
    expect(resolveRanges(header, length)).toEqual(ranges)
  })
})

test.each([
  'bytes=-0',
  'bytes=1000-',
  'bytes=100000-110000',
  'bytes=100000-,200000-',
  'bytes=18446744073709551616-',
  'bytes=9007199254740993-',
  'bytes=18446744073709551616-18446744073709551617',
  'bytes=0-10001,0-0',
  'bytes=0-5,0-5,0-5',
  `bytes=${Array.from({ length: 17 }, (_, i) => `${i}-${i}`).join(',')}`,
  `bytes=${Array.from({ length: 1600 }, (_, i) => `${i}-${i}`).join(',')}`,
])('cannot be satisfied: %s', (header) => {
  expect(resolveRanges(header, length)).toBe('unsatisfiable')
})

test.each([
  null,
  '',
  'bytes=5-2',
  'bytes=1-4,5-2',
  'bytes=100000-110000,2000-1000',
  'bytes=18446744073709551617-18446744073709551616',
  'bytes=',
  'bytes',
  'bytes=,',
  'bytes=foo',
  'bytes=7-1',
  'bytes=alpha',
  'bytes=10-alpha',
  'bytes=10',
  'bytes=10-11 12-',
  'bytes=0-1-2',
  'bytes=-',
  'bytes=--1',
  'bytes=+1-2',
  'bytes=1.0-2',
  'bytes=0x0-5',
  'bytes=٠-٥',
  'bytes =0-5',
  'items=0-5',
  'seconds=1-2',
])('is ignored: %s', (header) => {
  expect(resolveRanges(header, length)).toBe('whole')
})

test('sixteen ranges are answered', () => {
  const header = `bytes=${Array.from({ length: 16 }, (_, i) => `${i * 9}-${i * 9}`).join(',')}`
  expect(resolveRanges(header, length)).toHaveLength(16)
})

test('of an empty file a suffix is the whole, and nothing else is there', () => {
  expect(resolveRanges('bytes=-1', 0)).toBe('whole')
  expect(resolveRanges('bytes=0-', 0)).toBe('unsatisfiable')
  expect(resolveRanges('bytes=-0', 0)).toBe('unsatisfiable')
})

/** RFC 9110 §14.1.2 for one spec, in big integers and without a library. */
function model(first: bigint | undefined, last: bigint | undefined, size: bigint) {
  if (first === undefined) {
    const suffix = last ?? 0n
    if (suffix === 0n) return 'unsatisfiable'
    if (size === 0n) return 'whole'
    return [{ start: Number(suffix > size ? 0n : size - suffix), end: Number(size) }]
  }
  if (last !== undefined && last < first) return 'whole'
  if (first >= size) return 'unsatisfiable'
  return [
    { start: Number(first), end: Number(last === undefined || last >= size ? size : last + 1n) },
  ]
}

const position = fc.oneof(
  fc.bigInt({ min: 0n, max: 20n }),
  fc.bigInt({ min: 0n, max: 2n ** 70n }),
  fc.bigInt({ min: 2n ** 53n - 3n, max: 2n ** 53n + 3n }),
)

test('agrees with the arithmetic of RFC 9110 for every single range', () => {
  fc.assert(
    fc.property(
      fc.option(position, { nil: undefined }),
      fc.option(position, { nil: undefined }),
      fc.oneof(fc.integer({ min: 0, max: 20 }), fc.maxSafeNat()),
      (first, last, size) => {
        fc.pre(first !== undefined || last !== undefined)
        const resolved = resolveRanges(`bytes=${first ?? ''}-${last ?? ''}`, size)
        expect(resolved).toEqual(model(first, last, BigInt(size)))
      },
    ),
    propertyOptions('single ranges'),
  )
}, 60_000)

test('whatever is asked for, ranges lie within the file and are no more than the file', () => {
  const piece = fc.constantFrom('bytes', '=', '-', ',', ' ', '0', '1', '7', '99', '-0', '\t', 'x')
  fc.assert(
    fc.property(
      fc.array(piece, { maxLength: 40 }).map((parts) => `bytes=${parts.join('')}`),
      fc.integer({ min: 0, max: 200 }),
      (header, size) => {
        const resolved = resolveRanges(header, size)
        if (typeof resolved === 'string') return
        let sum = 0
        for (const { start, end } of resolved) {
          expect(start).toBeGreaterThanOrEqual(0)
          expect(end).toBeGreaterThan(start)
          expect(end).toBeLessThanOrEqual(size)
          sum += end - start
        }
        expect(sum).toBeLessThanOrEqual(size)
      },
    ),
    propertyOptions('range headers'),
  )
}, 60_000)
