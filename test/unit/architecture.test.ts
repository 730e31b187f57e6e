import { readdirSync, readFileSync } from 'node:fs'
import { dirname, join, posix, relative, resolve, sep } from 'node:path'
import { fileURLToPath } from 'node:url'
import { describe, expect, test } from 'vitest'

const root = resolve(dirname(fileURLToPath(import.meta.url)), '../..')

/** The stations of core in the order of the flow. Code imports from its own station and from earlier steps. */
const steps = [
  ['errors', 'limits', 'signal', 'byte-source', 'copy-bytes', 'typed-event-emitter'],
  ['metainfo', 'lock', 'net', 'hash'],
  ['wire', 'storage', 'chain', 'discovery'],
  ['picker'],
  ['swarm'],
  ['reader'],
  ['torrent'],
  ['session'],
  ['client'],
  ['bridge', 'folder', 'create', 'services'],
  ['conformance'],
]

describe('imports between packages', () => {
  test('reach core and nothing else; only examples and test import adapters', () => {
    const packages = sourcesOf('packages').flatMap((file) =>
      importsOf(file)
        .filter((name) => name.startsWith('@isthmus/'))
        .filter((name) => owner(file) === 'packages/core' || !/^@isthmus\/core(\/|$)/.test(name))
        .map((name) => `${file} imports ${name}`),
    )
    expect(packages).toEqual([])
  })

  test('go by package name, not by a path into another package', () => {
    const strays = ['packages', 'examples'].flatMap(sourcesOf).flatMap((file) =>
      importsOf(file)
        .filter((name) => name.startsWith('.'))
        .filter((name) => !target(file, name).startsWith(`${owner(file)}/`))
        .map((name) => `${file} imports ${name}`),
    )
    expect(strays).toEqual([])
  })
})

describe('imports between the stations of core', () => {
  const sources = sourcesOf('packages/core/src').filter((file) => station(file) !== 'index')

  test('every file belongs to a station', () => {
    const known = new Set(steps.flat())
    expect(sources.filter((file) => !known.has(station(file)))).toEqual([])
  })

  test('no arrow runs backwards or between stations of one step', () => {
    expect(sources.flatMap(backwardArrows)).toEqual([])
  })

  test('what runs backwards is found', () => {
    const file = 'packages/core/src/storage/x.ts'
    expect(isForward(file, '../metainfo/layout.ts')).toBe(true)
    expect(isForward(file, './piece-store.ts')).toBe(true)
    expect(isForward(file, '../wire/frames.ts')).toBe(false)
    expect(isForward(file, '../client.ts')).toBe(false)
    expect(isForward(file, '../index.ts')).toBe(false)
    expect(isForward('packages/core/src/signal.ts', './errors.ts')).toBe(true)
  })
})

function backwardArrows(file: string): string[] {
  return importsOf(file)
    .filter((name) => name.startsWith('.') && !isForward(file, name))
    .map((name) => `${file} imports ${name}`)
}

function isForward(file: string, name: string): boolean {
  const from = station(file)
  const to = station(target(file, name))
  // What everything stands on is one step of single files, which may know each other.
  if (from === to || (step(from) === 0 && step(to) === 0)) return true
  return step(to) !== -1 && step(to) < step(from)
}

function step(name: string): number {
  return steps.findIndex((names) => names.includes(name))
}

/** `metainfo` for packages/core/src/metainfo/layout.ts, `torrent` for torrent.ts and torrent-context.ts. */
function station(file: string): string {
  const [name = ''] = file.slice('packages/core/src/'.length).split('/', 1)
  const stem = name.replace(/(\.d)?\.ts$/, '')
  const [prefix = ''] = stem.split('-', 1)
  return step(stem) === -1 && step(prefix) !== -1 ? prefix : stem
}

/** The folder of a file's package.json. */
function owner(file: string): string {
  const depth = file.startsWith('packages/') || file.startsWith('examples/server/') ? 2 : 1
  return file.split('/').slice(0, depth).join('/')
}

function target(file: string, name: string): string {
  return posix.normalize(posix.join(posix.dirname(file), name))
}

function sourcesOf(folder: string): string[] {
  return readdirSync(join(root, folder), { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && entry.name.endsWith('.ts'))
    .map((entry) => relative(root, join(entry.parentPath, entry.name)).split(sep).join('/'))
    .filter((file) => !/\.test\.ts$|\.config\.ts$|\/(dist|node_modules)\//.test(file))
    .sort()
}

/** Import and export-from specifiers of any form, taken from lines so that nothing is parsed. */
function importsOf(file: string): string[] {
  const text = readFileSync(join(root, file), 'utf8')
  const patterns = [
    /^\s*(?:import|export)\b[^'"`;]*?\bfrom\s*['"]([^'"]+)['"]/gm,
    /^\s*import\s*['"]([^'"]+)['"]/gm,
    /\bimport\(\s*['"]([^'"]+)['"]/gm,
    /\bnew URL\(\s*['"](\.[^'"]+)['"],\s*import\.meta\.url/gm,
  ]
  return patterns.flatMap((pattern) => [...text.matchAll(pattern)].map((match) => match[1] ?? ''))
}
