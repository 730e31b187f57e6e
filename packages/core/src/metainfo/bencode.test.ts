import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { mutationsOf, propertyOptions } from '../../../../test/support/property.ts'
import { isIsthmusError } from '../errors.ts'
import {
  BencodeDict,
  type BencodeInput,
  type BencodeLimits,
  type BencodeValue,
  decodeBencode,
  decodeBencodePrefix,
  encodeBencode,
} from './bencode.ts'

const bytes = (text: string) => Uint8Array.from(Buffer.from(text, 'latin1'))
const decode = (text: string, limits?: BencodeLimits) => decodeBencode(bytes(text), limits)
const encoded = (value: BencodeInput) => Buffer.from(encodeBencode(value)).toString('latin1')

describe('decodeBencode', () => {
  test('reads the values of BEP 3', () => {
    expect(decode('4:spam')).toEqual(bytes('spam'))
    expect(decode('i-3e')).toBe(-3)
    expect(decode('i0e')).toBe(0)
    expect(decode('0:')).toEqual(new Uint8Array())
    expect(decode('l4:spam4:eggse')).toEqual([bytes('spam'), bytes('eggs')])
    const dict = decode('d3:cow3:moo4:spamd1:ai1eee')
    if (!(dict instanceof BencodeDict)) throw new Error('no dictionary')
    expect([...dict.keys()]).toEqual(['cow', 'spam'])
    expect(dict.get('cow')).toEqual(bytes('moo'))
    expect(dict.get('spam')).toBeInstanceOf(BencodeDict)
    expect(dict.span('spam')).toEqual(bytes('d1:ai1ee'))
  })

  test('integers past 2^53-1 are bigints', () => {
    expect(decode('i9007199254740991e')).toBe(9007199254740991)
    expect(decode('i9007199254740992e')).toBe(9007199254740992n)
    expect(decode('i-18446744073709551615e')).toBe(-18446744073709551615n)
  })

  test('byte strings are views of the input', () => {
    const input = Buffer.from('xx5:helloxx').subarray(2, 9)
    const value = decodeBencode(input)
    expect(value).toBeInstanceOf(Uint8Array)
    expect(Buffer.isBuffer(value)).toBe(false)
    input[2] = 'j'.charCodeAt(0)
    expect(value).toEqual(bytes('jello'))
  })

  test('keys out of order are accepted, and the original bytes of a value are kept', () => {
    const dict = decode('d1:zi1e4:infod1:bi2e1:ai1eee')
    if (!(dict instanceof BencodeDict)) throw new Error('no dictionary')
    expect(dict.span('info')).toEqual(bytes('d1:bi2e1:ai1ee'))
    expect(dict.span('z')).toEqual(bytes('i1e'))
    expect(dict.span('none')).toBeUndefined()
  })

  test('__proto__ and the like are keys like any other', () => {
    const dict = decode('d9:__proto__d3:admi1ee11:constructori2ee')
    if (!(dict instanceof BencodeDict)) throw new Error('no dictionary')
    expect([...dict.keys()]).toEqual(['__proto__', 'constructor'])
    expect(dict.get('adm')).toBeUndefined()
    expect(dict.get('hasOwnProperty')).toBeUndefined()
    expect(Object.getPrototypeOf(dict)).toBe(BencodeDict.prototype)
  })

  test.each([
    ['', 0],
    ['e', 0],
    ['x', 0],
    ['-1:a', 0],
    ['+1:a', 0],
    ['01:a', 0],
    ['00:', 0],
    [':', 0],
    ['2:a', 0],
    ['99999999999:', 0],
    ['99999999999999999999999999:a', 0],
    ['1', 0],
    ['1a', 0],
    ['1 :a', 0],
    ['ie', 0],
    ['i-e', 0],
    ['i-0e', 0],
    ['i00e', 0],
    ['i01e', 0],
    ['i+1e', 0],
    ['i1.5e', 0],
    ['i1', 0],
    ['i 1e', 0],
    ['i--1e', 0],
    ['i123456789012345678901e', 0],
    ['l', 1],
    ['li1e', 4],
    ['d1:ae', 4],
    ['di1ei2ee', 1],
    ['d1:ai1e1:ai2ee', 7],
    ['d1:a', 4],
    ['le ', 2],
    ['i1ei2e', 3],
    ['4:spame', 6],
  ])('refuses %j at byte %i', (text, offset) => {
    expect(() => decode(text)).toThrow(
      expect.objectContaining({
        code: 'ISTHMUS_BENCODE_INVALID',
        message: expect.stringMatching(new RegExp(`at byte ${offset}$`)),
      }),
    )
  })

  test('a prefix is read up to its end', () => {
    const { value, end } = decodeBencodePrefix(bytes('d5:piecei1eerest'))
    expect([value instanceof BencodeDict && value.get('piece'), end]).toEqual([1, 12])
  })

  test('100 levels are read and 101 are refused', () => {
    const nested = (depth: number) => 'l'.repeat(depth) + 'e'.repeat(depth)
    expect(decode(nested(100))).toBeInstanceOf(Array)
    expect(() => decode(nested(101))).toThrow(/nested deeper than 100 at byte 100$/)
    expect(() => decode('d1:a'.repeat(2_000_000))).toThrow(/nested deeper than 100/)
    expect(() => decode(nested(3), { maxDepth: 2 })).toThrow(/nested deeper/)
  })

  test('values are counted by what they cost', () => {
    expect(decode('li1ei2ee', { maxTokens: 4 })).toEqual([1, 2])
    expect(() => decode('li1ei2ee', { maxTokens: 3 })).toThrow(/too many values/)
    expect(() => decode('d1:a1:be', { maxTokens: 6 })).toThrow(/too many values/)
    expect(() => decode(`l${'de'.repeat(1_000_000)}e`)).toThrow(/too many values/)
  })

  test('a wide dictionary and a long list take linear time', () => {
    const dict = (keys: number) =>
      bytes(`d${Array.from({ length: keys }, (_, i) => `7:${1_000_000 + i}0:`).join('')}e`)
    const time = (input: Uint8Array) => {
      const start = performance.now()
      decodeBencode(input)
      return performance.now() - start
    }
    const [small, large] = [dict(30_000), dict(480_000)]
    time(small)
    const fastest = (input: Uint8Array) => Math.min(time(input), time(input), time(input))
    // Sixteen times the input: quadratic work would take 256 times as long.
    expect(fastest(large)).toBeLessThan(Math.max(fastest(small), 1) * 80)
  })
})

describe('encodeBencode', () => {
  test('sorts keys as raw bytes and leaves undefined out', () => {
    expect(encoded({ b: 1, a: undefined, é: 2, Z: 3, '\u{1F600}': 4, '\uFFFD': 5 })).toBe(
      Buffer.from('d1:Zi3e1:bi1e2:éi2e3:\uFFFDi5e4:\u{1F600}i4ee').toString('latin1'),
    )
    expect(
      encoded(
        new Map<string, BencodeInput>([
          ['\xff', 1],
          ['a', 'ü'],
        ]),
      ),
    ).toBe('d1:a2:\xc3\xbc1:\xffi1ee')
  })

  test.each([
    ['a fraction', 1.5],
    ['an unsafe number', 2 ** 53],
    ['NaN', Number.NaN],
    ['a key that is no bytes', new Map([['\u0100', 1]])],
  ])('%s is a TypeError', (_, value) => {
    expect(() => encodeBencode(value)).toThrow(TypeError)
  })

  test('a list that holds itself is a TypeError', () => {
    const list: BencodeInput[] = []
    list.push(list)
    expect(() => encodeBencode(list)).toThrow(TypeError)
  })

  test('what it returns is a buffer of its own', () => {
    expect(encodeBencode('a').buffer.byteLength).toBe(3)
  })
})

const key = fc.uint8Array({ maxLength: 6 }).map((raw) => Buffer.from(raw).toString('latin1'))
const value = fc.letrec<{ value: BencodeInput; dict: Map<string, BencodeInput> }>((tie) => ({
  value: fc.oneof(
    { maxDepth: 4, withCrossShrink: true },
    fc.uint8Array({ maxLength: 12 }),
    fc.maxSafeInteger(),
    fc.bigInt({ min: -(2n ** 64n), max: 2n ** 64n }),
    fc.array(tie('value'), { maxLength: 4 }),
    tie('dict'),
  ),
  dict: fc.array(fc.tuple(key, tie('value')), { maxLength: 4 }).map((entries) => new Map(entries)),
})).value

describe('bencode, with any input', () => {
  test('what was encoded decodes to the same, and encodes to the same bytes', () => {
    fc.assert(
      fc.property(value, (input) => {
        const first = encodeBencode(input)
        const output = decodeBencode(first)
        if (!same(input, output)) throw new Error('decoded to another value')
        if (Buffer.compare(first, encodeBencode(output)) !== 0) throw new Error('other bytes')
      }),
      propertyOptions('bencode round trip'),
    )
  }, 60_000)

  test('only ISTHMUS_BENCODE_INVALID is thrown, and what is accepted has one meaning', () => {
    const samples = [
      'd8:announce20:http://tracker.test/4:infod6:lengthi1e4:name1:aee',
      'lli1ei-2eed1:a0:1:bleee',
      'd1:ad1:bd1:cl4:spami18446744073709551615eeeee',
      '3:abc',
    ].map(bytes)
    const syntax = fc
      .array(fc.constantFrom('i', 'l', 'd', 'e', '0', '1', '2', '-', ':', 'a'), { maxLength: 24 })
      .map((characters) => bytes(characters.join('')))
    fc.assert(
      fc.property(
        fc.oneof(mutationsOf(samples), syntax, fc.uint8Array({ maxLength: 64 })),
        (input) => {
          let output: BencodeValue
          try {
            output = decodeBencode(input)
          } catch (error) {
            if (isIsthmusError(error, 'ISTHMUS_BENCODE_INVALID')) return
            throw error
          }
          const again = encodeBencode(output)
          // Strict: but for the order of keys, every value has one spelling.
          if (again.length !== input.length) throw new Error('accepted a second spelling')
          if (!same(output, decodeBencode(again))) throw new Error('encoded to another value')
        },
      ),
      propertyOptions('bencode mutations'),
    )
  }, 60_000)
})

/** Faster than a matcher, 100,000 times. Integers are equal by value: small bigints come back as numbers. */
function same(a: BencodeInput, b: BencodeInput): boolean {
  if (a instanceof Uint8Array) return b instanceof Uint8Array && Buffer.compare(a, b) === 0
  if (Array.isArray(a)) {
    return Array.isArray(b) && a.length === b.length && a.every((item, i) => same(item, b[i]))
  }
  if (a instanceof Map) {
    if (!(b instanceof Map) || a.size !== b.size) return false
    return [...a].every(([name, item]) => b.has(name) && same(item, b.get(name)))
  }
  return typeof b !== 'object' && BigInt(a as number) === BigInt(b as number)
}
