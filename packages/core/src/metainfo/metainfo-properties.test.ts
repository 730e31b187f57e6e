import fc from 'fast-check'
import { expect, test } from 'vitest'
import { hybridTorrent, v2Torrent } from '../../../../test/support/libtorrent-samples.ts'
import { mutationsOf, propertyOptions } from '../../../../test/support/property.ts'
import { isIsthmusError } from '../errors.ts'
import {
  BencodeDict,
  type BencodeInput,
  type BencodeValue,
  decodeBencode,
  encodeBencode,
} from './bencode.ts'
import { encodeMetainfo, type Metainfo, parseMetainfo } from './metainfo.ts'
import { pieceHashV2 } from './piece-hash.ts'

const hex = (bytes: Uint8Array | undefined) => Buffer.from(bytes ?? []).toString('hex')

const pieces = new Uint8Array(60)
const samples = [
  hybridTorrent,
  v2Torrent,
  encodeBencode({
    announce: 'http://tracker.test/',
    comment: 'x',
    'creation date': 1,
    info: { name: 'a.bin', 'piece length': 4, length: 10, pieces },
  }),
  encodeBencode({
    'announce-list': [['udp://a.test:1']],
    'url-list': 'http://w.test/',
    info: {
      name: 'dir',
      'piece length': 4,
      files: [
        { length: 3, path: ['a', 'b'] },
        { length: 1, attr: 'p' },
        { length: 6, path: ['c'], 'path.utf-8': ['ç'] },
      ],
      pieces,
    },
  }),
]

test('only an IsthmusError is thrown, and what is accepted is consistent and comes back', () => {
  const input = fc.oneof(
    { weight: 5, arbitrary: changedValues(samples) },
    { weight: 4, arbitrary: mutationsOf(samples) },
    { weight: 1, arbitrary: fc.uint8Array({ maxLength: 64 }) },
  )
  let accepted = 0
  const options = propertyOptions('metainfo mutations')
  fc.assert(
    fc.property(input, (bytes) => {
      let metainfo: Metainfo
      try {
        metainfo = parseMetainfo(bytes)
      } catch (error) {
        if (isIsthmusError(error)) return
        throw error
      }
      accepted++
      assertConsistent(metainfo)
      const again = parseMetainfo(encodeMetainfo(metainfo))
      if (summary(again) !== summary(metainfo)) throw new Error('came back as another')
    }),
    options,
  )
  // Otherwise nothing but refusals was tested.
  expect(accepted).toBeGreaterThanOrEqual(Math.floor(options.numRuns / 200))
}, 60_000)

/** Well-formed bencode in which some values are other ones, gone, or there twice. */
function changedValues(samples: readonly Uint8Array[]): fc.Arbitrary<Uint8Array> {
  const hostile = fc.oneof(
    fc.constantFrom<BencodeInput>(
      -1,
      0,
      1,
      2,
      3,
      16_383,
      16_384,
      32_768,
      2 ** 29,
      2 ** 53 - 1,
      2n ** 64n,
    ),
    fc.constantFrom<BencodeInput>(
      '',
      '.',
      '..',
      'a/b',
      'a\0',
      'a',
      'p',
      'l',
      '__proto__',
      [],
      ['a'],
      {},
    ),
    fc.constantFrom<BencodeInput>({ '': { length: 0 } }, { a: { '': { length: 0 } } }),
    fc.uint8Array({ maxLength: 40 }),
  )
  const change = fc.record({
    at: fc.nat(),
    kind: fc.constantFrom('replace', 'replace', 'remove', 'double', 'add'),
    key: fc.constantFrom(
      '',
      'a',
      'attr',
      'files',
      'length',
      'meta version',
      'name.utf-8',
      'path.utf-8',
    ),
    value: hostile,
  })
  return fc
    .tuple(fc.constantFrom(...samples), fc.array(change, { minLength: 1, maxLength: 3 }))
    .map(([sample, changes]) => {
      const root = decodeBencode(sample)
      for (const { at, kind, key, value } of changes) {
        const containers = containersOf(root)
        const container = containers[at % containers.length]
        const copy = decodeBencode(encodeBencode(value))
        if (Array.isArray(container)) {
          const index = at % (container.length + 1)
          const kept = kind === 'double' ? container.slice(index, index + 1) : []
          container.splice(
            index,
            kind === 'add' ? 0 : 1,
            ...(kind === 'remove' ? [] : [...kept, copy]),
          )
        } else if (container !== undefined) {
          const name =
            kind === 'add' ? key : ([...container.keys()][at % (container.size + 1)] ?? key)
          if (kind === 'remove') container.delete(name)
          else container.set(name, copy)
        }
      }
      return encodeBencode(root)
    })
}

function containersOf(value: BencodeValue): (BencodeDict | BencodeValue[])[] {
  if (!Array.isArray(value) && !(value instanceof BencodeDict)) return []
  return [value, ...[...value.values()].flatMap(containersOf)]
}

function assertConsistent(metainfo: Metainfo): void {
  const { layout, files } = metainfo
  const sum = files.reduce((total, { length }) => total + length, 0)
  if (sum !== metainfo.length || sum > layout.length) throw new Error('lengths do not add up')
  if ((metainfo.pieceHashes?.length ?? layout.pieceCount * 20) !== layout.pieceCount * 20) {
    throw new Error('not one hash per piece')
  }
  for (const { index, path, offset, length } of files) {
    if (path.components.some((name) => /^\.{0,2}$|[/\0]/.test(name))) throw new Error('unsafe')
    const [span] = length > 0 ? layout.filesOf({ start: offset, end: offset + length }) : []
    if (length > 0 && span?.file !== index) throw new Error('a file lies elsewhere')
  }
  if (metainfo.version === 'v1') return
  for (let piece = 0; piece < Math.min(layout.pieceCount, 50); piece++) {
    if (pieceHashV2(metainfo, piece)?.length !== 32) throw new Error('a piece without hash')
  }
}

function summary(metainfo: Metainfo): string {
  const { infoBytes, pieceLayers, pieceHashes, layout, files, ...rest } = metainfo
  const layers = [...pieceLayers].map(([root, layer]) => [root, hex(layer)])
  const entries = files.map((file) => ({ ...file, piecesRoot: hex(file.piecesRoot) }))
  return JSON.stringify({
    ...rest,
    entries,
    info: hex(infoBytes),
    hashes: hex(pieceHashes),
    layers,
  })
}
