import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { propertyOptions } from '../../../../test/support/property.ts'
import { diskName } from './disk-name.ts'
import { diskPaths } from './disk-paths.ts'
import { safePath } from './safe-path.ts'

const onDisk = (...paths: string[]) =>
  diskPaths(paths.map((path) => safePath(path.split('/')))).map((names) => names.join('/'))

describe('diskName', () => {
  test.each([
    ['film.mkv', 'film.mkv'],
    ['.hidden', '.hidden'],
    ['a..b', 'a..b'],
    ['日本語 動画.mp4', '日本語 動画.mp4'],
    ['a\\..\\..\\x', 'a_.._.._x'],
    ['\\\\srv\\s', '__srv_s'],
    ['C:\\x', 'C__x'],
    ['C:x', 'C_x'],
    ['a:b', 'a_b'],
    ['what? "<no>" | *', 'what_ __no__ _ _'],
    ['a\nb\rc\td\x7f\x85', 'a_b_c_d__'],
    ['...', '_'],
    ['.\u200b.', '_'],
    ['\u200b', '_'],
    ['foo.', 'foo'],
    ['foo. . ', 'foo'],
    [' foo', ' foo'],
    ['CON', '_CON'],
    ['con.txt', '_con.txt'],
    ['NUL.', '_NUL'],
    ['nul .tar.gz', '_nul .tar.gz'],
    ['COM\u00b9', '_COM\u00b9'],
    ['lpt9.log', '_lpt9.log'],
    ['aux:', 'aux_'],
    ['c\u200bon', '_con'],
    ['CONIN$', '_CONIN$'],
    ['console', 'console'],
    ['COM10', 'COM10'],
    ['\u202egpj.exe', 'gpj.exe'],
    ['e\u0301', '\u00e9'],
    ['e\u200d\u0301', '\u00e9'],
    ['\u2215\uff0f', '\u2215\uff0f'],
    ['%2e%2e%2f', '%2e%2e%2f'],
  ])('%j is kept as %j', (name, expected) => {
    expect(diskName(name)).toBe(expected)
  })

  test('what is over 255 bytes is cut between characters, before the extension', () => {
    expect(diskName(`${'é'.repeat(150)}.mkv`)).toBe(`${'é'.repeat(125)}.mkv`)
    expect(diskName('\u{1F600}'.repeat(64))).toBe('\u{1F600}'.repeat(63))
    expect(diskName(`${'x'.repeat(254)}. .${'y'.repeat(20)}`)).toBe('x'.repeat(254))
    // Canonical composition makes this one longer than it was.
    expect(Buffer.byteLength(diskName('\ufb2c'.repeat(85)))).toBeLessThanOrEqual(255)
  })
})

describe('diskPaths', () => {
  test('names that are fine stay as they are', () => {
    const paths = ['dir/a.txt', 'dir/b/a.txt', 'dir/b/c', 'other']
    expect(onDisk(...paths)).toEqual(paths)
  })

  test('names that differ in case, Unicode form or not at all get numbers', () => {
    expect(onDisk('d/dup', 'd/dup', 'd/DUP')).toEqual(['d/dup', 'd/dup (1)', 'd/DUP (2)'])
    expect(onDisk('\u00e9.txt', 'e\u0301.txt')).toEqual(['\u00e9.txt', '\u00e9 (1).txt'])
    expect(onDisk('stra\u00dfe', 'STRASSE', 'stra\u1e9ee')).toEqual([
      'stra\u00dfe',
      'STRASSE (1)',
      'stra\u1e9ee (2)',
    ])
    expect(onDisk('I', '\u0131', 'i')).toEqual(['I', '\u0131 (1)', 'i (2)'])
    expect(onDisk('a:b', 'a?b', 'a_b')).toEqual(['a_b', 'a_b (1)', 'a_b (2)'])
  })

  test('a number that is taken is passed over', () => {
    expect(onDisk('a (1)', 'a', 'a', 'a (2)', 'a')).toEqual([
      'a (1)',
      'a',
      'a (2)',
      'a (2) (1)',
      'a (3)',
    ])
  })

  test('a file and a directory never share a name, whichever comes first', () => {
    expect(onDisk('x/a', 'x/a/b', 'x/a/c')).toEqual(['x/a', 'x/a (1)/b', 'x/a (1)/c'])
    expect(onDisk('x/a/b', 'x/a', 'x/a/c')).toEqual(['x/a/b', 'x/a (1)', 'x/a/c'])
  })

  test('directories that differ in case stay two', () => {
    expect(onDisk('Dir/a', 'dir/a', 'Dir/b')).toEqual(['Dir/a', 'dir (1)/a', 'Dir/b'])
  })

  test('prototype names are names', () => {
    const names = ['__proto__', 'constructor', 'hasOwnProperty', '__proto__/x']
    expect(onDisk(...names)).toEqual([...names.slice(0, 3), '__proto__ (1)/x'])
  })

  test('a path as long as allowed stays below PATH_MAX', () => {
    const [long] = onDisk(
      Array(97)
        .fill(`${'x'.repeat(37)}.mkv`)
        .join('/'),
    )
    expect(Buffer.byteLength(long ?? '')).toBeLessThan(3400)
    expect(long?.split('/')).toHaveLength(97)
    expect(long?.split('/').at(-1)).toBe(`${'x'.repeat(20)}.mkv`)
    const [wide] = onDisk(Array(16).fill('x'.repeat(255)).join('/'))
    expect(Buffer.byteLength(wide ?? '')).toBeLessThan(2000)
  })

  test('100,000 files of one name take linear time', () => {
    const path = safePath(['dup.mkv'])
    const time = (count: number) => {
      const paths = Array(count).fill(path)
      const start = performance.now()
      const names = diskPaths(paths)
      expect(names.at(-1)).toEqual([`dup (${count - 1}).mkv`])
      return performance.now() - start
    }
    time(5000)
    // Twenty times as many: quadratic work would take 400 times as long.
    expect(time(100_000)).toBeLessThan(Math.max(time(5000), 2) * 120)
  })

  test('names cut to the same start take linear time', () => {
    const paths = Array.from({ length: 40_000 }, (_, i) =>
      safePath([`${'x'.repeat(249)}${String(i >> 1).padStart(6, '0')}`]),
    )
    const start = performance.now()
    const names = diskPaths(paths).map(([name]) => name)
    expect(new Set(names).size).toBe(paths.length)
    expect(performance.now() - start).toBeLessThan(5000)
  })

  test('no two files meet, none escapes, every name works everywhere', () => {
    const character = fc.constantFrom(
      ...[
        'a',
        'A',
        '.',
        ' ',
        ':',
        '\\',
        '\u0301',
        'é',
        '\u200b',
        'ß',
        's',
        '(',
        '1',
        ')',
        'ı',
        'I',
      ],
    )
    const word = fc.constantFrom('con', 'CON.txt', 'a (1)', 'a', 'A', '..a', 'a.mkv', 'A.MKV')
    const component = fc
      .oneof(
        word,
        fc.array(character, { minLength: 1, maxLength: 4 }).map((all) => all.join('')),
      )
      .filter((name) => name !== '.' && name !== '..')
    const path = fc.array(component, { minLength: 1, maxLength: 3 }).map((all) => safePath(all))
    fc.assert(
      fc.property(fc.array(path, { minLength: 1, maxLength: 12 }), (paths) => {
        const all = diskPaths(paths)
        const files = new Set<string>()
        const directories = new Set<string>()
        for (const [index, names] of all.entries()) {
          if (names.length !== paths[index]?.components.length) throw new Error('another depth')
          for (const name of names) {
            if (!/^[^\\/:*?"<>|\0-\x1f]+$/.test(name) || /[. ]$/.test(name)) throw new Error(name)
            if (/^(con|nul|aux|prn)( |\.|$)/i.test(name) && !name.includes(' ('))
              throw new Error(name)
          }
          const folded = names.map((name) => name.normalize('NFD').toLowerCase())
          const file = folded.join('/')
          if (files.has(file)) throw new Error(`${file} twice`)
          files.add(file)
          for (let depth = 1; depth < folded.length; depth++) {
            directories.add(folded.slice(0, depth).join('/'))
          }
        }
        for (const directory of directories) {
          if (files.has(directory)) throw new Error(`${directory} is a file and a directory`)
        }
        const again = diskPaths(paths.slice(0, 3))
        if (JSON.stringify(again) !== JSON.stringify(all.slice(0, 3)))
          throw new Error('other names')
      }),
      propertyOptions('disk paths'),
    )
  }, 60_000)
})
