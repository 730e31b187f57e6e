import { describe, expect, test } from 'vitest'
import { createLimits } from '../limits.ts'
import { SafePath, safePath } from './safe-path.ts'

const utf8 = (text: string) => Uint8Array.from(Buffer.from(text))
const unsafe = expect.objectContaining({ code: 'ISTHMUS_PATH_UNSAFE' })

describe('safePath', () => {
  test.each([
    ['..'],
    ['a', '..', '..', 'x'],
    ['../x'],
    ['a/b'],
    ['/abs'],
    ['/'],
    [''],
    ['a', ''],
    ['.'],
    ['a', '.', 'b'],
    ['a\0b'],
    ['\0'],
    ['x'.repeat(1025)],
    ['é'.repeat(513)],
  ])('refuses %j', (...components) => {
    expect(() => safePath(components)).toThrow(unsafe)
    expect(() => safePath(components.map(utf8))).toThrow(unsafe)
  })

  test('refuses a path without a component, of too many, and of too many bytes', () => {
    expect(() => safePath([])).toThrow(unsafe)
    expect(safePath(Array(100).fill('a')).components).toHaveLength(100)
    expect(() => safePath(Array(101).fill('a'))).toThrow(unsafe)
    expect(safePath(Array(20).fill('x'.repeat(200))).byteLength).toBe(4019)
    expect(() => safePath(Array(25).fill('x'.repeat(200)))).toThrow(unsafe)
    expect(() => safePath(['a', 'b'], createLimits({ pathComponents: 1 }))).toThrow(unsafe)
  })

  test.each([
    'a..b',
    '...',
    'foo... bar',
    '..;',
    '.hidden',
    '\\\\srv\\s',
    'C:\\x',
    'C:x',
    'a\\..\\..\\x',
    'a\nb',
    'CON',
    'COM\u00b9',
    'a.',
    'a ',
    '%2e%2e%2f',
    '..%5c',
    '\u2215',
    '\uff0f',
    '\u202egpj.exe',
    '\ufeffx',
    '__proto__',
    'constructor',
    '~hls',
    'x~',
    '\u{1F600}',
    'e\u0301',
    'x'.repeat(1024),
  ])('keeps the true name %j', (name) => {
    expect(safePath([name]).toString()).toBe(name)
    expect(safePath(['dir', utf8(name)]).components).toEqual(['dir', name])
  })

  test('what is not UTF-8, and lone surrogates, become U+FFFD', () => {
    expect(safePath([Uint8Array.of(0x61, 0xff, 0x62)]).toString()).toBe('a\uFFFDb')
    // An overlong '..' and '/', as some decoders would read them.
    const overlong = safePath([Uint8Array.of(0xc0, 0xae, 0xc0, 0xae, 0xc0, 0xaf)])
    expect(overlong.toString()).toBe('\uFFFD'.repeat(6))
    expect(safePath(['a\ud800b']).toString()).toBe('a\uFFFDb')
    expect(safePath(['\ud83d\ude00\ude00']).toString()).toBe('\u{1F600}\uFFFD')
  })
})

describe('SafePath', () => {
  test('joining checks the component that is added, and the whole', () => {
    const path = safePath(['a'])
    expect(path.join('b').join(utf8('c')).toString()).toBe('a/b/c')
    expect(() => path.join('..')).toThrow(unsafe)
    expect(() => path.join('b/c')).toThrow(unsafe)
    expect(() => path.join('b', createLimits({ pathBytes: 2 }))).toThrow(unsafe)
    expect(() => path.join('b', createLimits({ pathComponents: 1 }))).toThrow(unsafe)
    expect(path.toString()).toBe('a')
  })

  test('cannot be made without the check', () => {
    const forge = SafePath as unknown as new (...given: unknown[]) => SafePath
    expect(() => new forge(Symbol('made by safePath'), '../x')).toThrow(TypeError)
    const copy = Object.create(SafePath.prototype) as SafePath
    expect(() => copy.toString()).toThrow(TypeError)
  })

  test('is its text in JSON and in templates', () => {
    const path = safePath(['a', 'b'])
    expect(JSON.stringify({ path })).toBe('{"path":"a/b"}')
    expect(`${path}`).toBe('a/b')
  })
})
