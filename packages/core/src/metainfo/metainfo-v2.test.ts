import { createHash } from 'node:crypto'
import { describe, expect, test } from 'vitest'
import { hybridTorrent, v2Torrent } from '../../../../test/support/libtorrent-samples.ts'
import { BencodeDict, type BencodeInput, decodeBencode, encodeBencode } from './bencode.ts'
import { type Metainfo, parseMetainfo } from './metainfo.ts'
import { pieceHash, pieceHashV2 } from './piece-hash.ts'

type Fields = Record<string, BencodeInput | undefined>

const parse = (info: Fields) => parseMetainfo(encodeBencode({ info }))
const paths = (metainfo: Metainfo) => metainfo.files.map(({ path }) => path.toString())
const failure = (code: string, message = /./) =>
  expect.objectContaining({ code, message: expect.stringMatching(message) })
const invalid = (field: RegExp) => failure('ISTHMUS_METAINFO_INVALID', field)
const hex = (bytes: Uint8Array | undefined) => Buffer.from(bytes ?? []).toString('hex')

describe('parseMetainfo, v2 and hybrid', () => {
  const block = (length: number) => Uint8Array.from({ length }, (_, i) => (i * 7 + (i >> 8)) & 255)

  test('reads a v2 torrent that another client made', () => {
    const metainfo = parseMetainfo(v2Torrent)
    expect(metainfo).toMatchObject({
      id: { v2: '472a9c2ec0ef501d8052ea0bb3efa7c224847220faf51d09a33c49411b425405' },
      version: 'v2',
      name: 'one.bin',
      multiFile: false,
      length: 70_000,
      trackers: [['http://tracker.example/announce']],
    })
    expect(metainfo.id.v1).toBeUndefined()
    expect(metainfo.pieceHashes).toBeUndefined()
    expect(paths(metainfo)).toEqual(['one.bin'])
    expect(() => pieceHash(metainfo, 0)).toThrow(RangeError)
    // A piece is one block here, so its tree hash is the hash of its bytes.
    const content = block(70_000)
    for (let piece = 0; piece < 5; piece++) {
      const { start, end } = metainfo.layout.pieceRange(piece)
      const expected = createHash('sha256').update(content.subarray(start, end)).digest('hex')
      expect(hex(pieceHashV2(metainfo, piece))).toBe(expected)
    }
  })

  test('reads a hybrid torrent that another client made', () => {
    const metainfo = parseMetainfo(hybridTorrent)
    expect(metainfo.id).toEqual({
      v1: 'ce931c3bd8a5456589e7b0b6609d5475e3166541',
      v2: 'e7c32cf708a4c6dc568dc4dad1134889e3616ccaf8de035317e828e9b2daafdc',
    })
    expect([metainfo.version, metainfo.infoHash]).toEqual(['hybrid', metainfo.id.v1])
    expect(metainfo.files.map(({ path, length, offset }) => [`${path}`, length, offset])).toEqual([
      ['sample/a.txt', 50_000, 0],
      ['sample/dir/b.bin', 16_384, 65_536],
      ['sample/dir/c', 100, 81_920],
      ['sample/empty', 0, 98_304],
    ])
    expect([metainfo.length, metainfo.layout.length, metainfo.layout.pieceCount]).toEqual([
      66_484, 98_304, 6,
    ])
    // Piece 3 is the end of a.txt: padded for v1, as it is for v2.
    const end = block(50_000).subarray(49_152)
    const padded = Buffer.concat([end, new Uint8Array(16_384 - end.length)])
    expect(hex(pieceHash(metainfo, 3))).toBe(createHash('sha1').update(padded).digest('hex'))
    expect(hex(pieceHashV2(metainfo, 3))).toBe(createHash('sha256').update(end).digest('hex'))
    // Piece 5 is all of c, a file no longer than a piece.
    const small = createHash('sha256').update(block(100)).digest('hex')
    expect(hex(pieceHashV2(metainfo, 5))).toBe(small)
    expect(() => pieceHash(metainfo, 6)).toThrow(RangeError)
    expect(() => pieceHashV2(metainfo, 6)).toThrow(RangeError)
  })

  test('keeps the info dictionary and what it points to, not the whole .torrent', () => {
    const metainfo = parseMetainfo(Buffer.concat([Buffer.alloc(9), hybridTorrent]).subarray(9))
    expect(metainfo.infoBytes.buffer.byteLength).toBe(metainfo.infoBytes.length)
    expect(metainfo.pieceHashes?.buffer).toBe(metainfo.infoBytes.buffer)
    expect(metainfo.files[0]?.piecesRoot?.buffer).toBe(metainfo.infoBytes.buffer)
    for (const layer of metainfo.pieceLayers.values()) {
      expect(layer.buffer.byteLength).toBe(layer.length)
    }
  })

  const change = (bytes: Uint8Array, from: string, to: string): Uint8Array => {
    const text = Buffer.from(bytes).toString('latin1')
    expect(text).toContain(from)
    return Buffer.from(text.replace(from, to), 'latin1')
  }

  test.each([
    ['count', [['4:attr1:p6:lengthi15536e', '4:attr1:x6:lengthi15536e']]],
    ['name', [['4:pathl3:dir1:cee', '4:pathl3:dir1:dee']]],
    [
      'length',
      [
        ['6:lengthi100e4:path', '6:lengthi101e4:path'],
        ['6:lengthi16284e', '6:lengthi16283e'],
      ],
    ],
    [
      'place',
      [
        ['6:lengthi15536e', '6:lengthi15535e'],
        ['6:lengthi16284e', '6:lengthi16285e'],
      ],
    ],
  ])('a hybrid whose views differ in the %s of files is refused', (_, changes) => {
    const bytes = changes.reduce(
      (all, [from = '', to = '']) => change(all, from, to),
      hybridTorrent,
    )
    expect(() => parseMetainfo(bytes)).toThrow(invalid(/other files/))
  })

  test('piece layers that are missing, short or wrong are refused', () => {
    const fields = decodeBencode(v2Torrent)
    if (!(fields instanceof BencodeDict)) throw new Error('no dictionary')
    const [[root, layer] = ['', new Uint8Array()]] = fields.get('piece layers') as BencodeDict
    const withLayers = (layers: BencodeInput | undefined) =>
      parseMetainfo(encodeBencode({ info: fields.get('info'), 'piece layers': layers }))
    const bytes = Uint8Array.from(layer as Uint8Array)
    expect(withLayers(new Map([[root, bytes]])).pieceLayers.size).toBe(1)
    expect(() => withLayers(undefined)).toThrow(invalid(/^piece layers /))
    expect(() => withLayers({})).toThrow(invalid(/^piece layers /))
    expect(() => withLayers(new Map([[root, bytes.subarray(32)]]))).toThrow(invalid(/one hash per/))
    bytes[0] = (bytes[0] ?? 0) ^ 1
    expect(() => withLayers(new Map([[root, bytes]]))).toThrow(invalid(/hash up to the root/))
  })

  const v2 = (fields: Fields): Fields => ({
    'meta version': 2,
    name: 'dir',
    'piece length': 16_384,
    'file tree': { a: { '': { length: 1, 'pieces root': new Uint8Array(32) } } },
    ...fields,
  })
  const root = new Uint8Array(32)
  test.each<[string, Fields, RegExp]>([
    ['a piece length below 16 KiB', v2({ 'piece length': 8192 }), /^info\.piece length /],
    [
      'a piece length that is no power of two',
      v2({ 'piece length': 16_385 }),
      /^info\.piece length /,
    ],
    ['no file tree', v2({ 'file tree': undefined }), /^info\.file tree /],
    ['an empty file tree', v2({ 'file tree': {} }), /^info\.file tree /],
    ['a file for a root', v2({ 'file tree': { '': { length: 0 } } }), /^info\.file tree /],
    [
      'a file with entries',
      v2({ 'file tree': { a: { '': { length: 0 }, b: {} } } }),
      /^info\.file tree /,
    ],
    ['an entry that is a number', v2({ 'file tree': { a: 1 } }), /^info\.file tree /],
    ['a file without length', v2({ 'file tree': { a: { '': {} } } }), /^info\.file tree\.length /],
    ['no root', v2({ 'file tree': { a: { '': { length: 1 } } } }), /pieces root /],
    [
      'a short root',
      v2({ 'file tree': { a: { '': { length: 1, 'pieces root': root.subarray(1) } } } }),
      /pieces root /,
    ],
  ])('refuses %s', (_, info, field) => {
    expect(() => parse(info)).toThrow(invalid(field))
  })

  test('a tree of one file is a single-file torrent, any other one has the name first', () => {
    const file = { '': { length: 1, 'pieces root': root } }
    const single = parse(v2({}))
    expect([paths(single), single.multiFile, single.name]).toEqual([['a'], false, 'dir'])
    const many = parse(v2({ 'file tree': { a: file, b: { c: file } } }))
    expect([paths(many), many.multiFile]).toEqual([['dir/a', 'dir/b/c'], true])
    expect(paths(parse(v2({ 'file tree': { a: { b: file } } })))).toEqual(['dir/a/b'])
  })

  test('symlinks are left out of a tree', () => {
    const file = { '': { length: 1, 'pieces root': root } }
    const link = { '': { attr: 'l', 'symlink path': ['a'] } }
    expect(paths(parse(v2({ 'file tree': { a: file, b: link } })))).toEqual(['dir/a'])
  })

  test('few bytes that spell very long paths are ISTHMUS_METAINFO_TOO_LARGE', () => {
    const names = Array.from({ length: 20_000 }, (_, i) => [`${i}`, { '': { length: 0 } }] as const)
    const leaves: BencodeInput = Object.fromEntries(names)
    const deep = Array(15)
      .fill('x'.repeat(250))
      .reduce((tree: BencodeInput, name: string) => ({ [name]: tree }), leaves)
    expect(() => parse(v2({ 'file tree': deep }))).toThrow(failure('ISTHMUS_METAINFO_TOO_LARGE'))
  })
})
