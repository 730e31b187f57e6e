import { isIsthmusError } from '@isthmus/core'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { propertyOptions } from '../../../test/support/property.ts'
import { readFirstSegment } from './first-segment.ts'
import { parseRequestTarget } from './request-target.ts'

test.each<[string, readonly string[]]>([
  ['/', ['']],
  ['/a/b', ['a', 'b']],
  ['/a/', ['a', '']],
  ['/a%20b/%E2%82%AC', ['a b', '€']],
  ['/a%252Fb', ['a%2Fb']],
  ['/a+b', ['a+b']],
  ['/%7Ehls', ['~hls']],
  ['/..%2f', ['../']],
  ['/caf\xc3\xa9', ['café']],
  ['http://example.org/a/b', ['a', 'b']],
  ['HTTP://example.org', ['']],
  ['https://example.org?x=1', ['']],
])('%s has its components decoded one by one', (target, segments) => {
  expect(parseRequestTarget(target).segments).toEqual(segments)
})

test('the query is apart from the path', () => {
  const { segments, query } = parseRequestTarget('/a?peer=1%3A2&peer=%5B::1%5D:3&x=/')
  expect(segments).toEqual(['a'])
  expect(query.getAll('peer')).toEqual(['1:2', '[::1]:3'])
})

test.each([
  '//',
  '///',
  '//evil.example/x',
  '/a//b',
  '/%FF',
  '/%',
  '/%2',
  '/%zz',
  '/%C0%AF',
  '/%ED%A0%80',
  '/a%00b',
  '/\xff',
  '/a b',
  '/a\u0100',
  '/a#b',
  '*',
  '',
  'a/b',
  'ftp://example.org/',
  'http://',
  'example.org:80',
  `/${'a'.repeat(16_384)}`,
])('%s is refused', (target) => {
  const refused = () => parseRequestTarget(target)
  expect(refused).toThrow(expect.objectContaining({ code: 'ISTHMUS_REQUEST_TARGET' }))
})

const fragment = fc.oneof(
  fc.constantFrom('/', '//', '%', '%2F', '%FF', '%00', '..', '?', '#', '~hls', 'api', '\\', ' '),
  fc.constantFrom('a'.repeat(40), '0'.repeat(64), 'http://h', '__proto__', '=&'),
  fc.string({ unit: 'binary' }),
  fc.string({ unit: 'grapheme-ascii' }),
)

test('no target makes it throw anything but an IsthmusError', () => {
  fc.assert(
    fc.property(fc.array(fragment, { maxLength: 8 }), fc.boolean(), (parts, rooted) => {
      try {
        const { segments } = parseRequestTarget(`${rooted ? '/' : ''}${parts.join('')}`)
        expect(segments.length).toBeGreaterThan(0)
        readFirstSegment(segments[0] ?? '')
      } catch (error) {
        if (!isIsthmusError(error)) throw error
      }
    }),
    propertyOptions('request targets'),
  )
}, 60_000)

test('components that were escaped one by one come back as they were', () => {
  const component = fc
    .string({ unit: 'grapheme', minLength: 1, maxLength: 10 })
    .filter((text) => !text.includes('\0') && !/\p{Surrogate}/u.test(text))
  fc.assert(
    fc.property(fc.array(component, { minLength: 1, maxLength: 4 }), (components) => {
      const target = `/${components.map(encodeURIComponent).join('/')}`
      expect(parseRequestTarget(target).segments).toEqual(components)
    }),
    propertyOptions('escaped targets'),
  )
}, 60_000)
