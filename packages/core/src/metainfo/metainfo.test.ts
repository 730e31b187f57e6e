import { createHash } from 'node:crypto'
import { describe, expect, test } from 'vitest'
import { hybridTorrent, v2Torrent } from '../../../../test/support/libtorrent-samples.ts'
import { createLimits } from '../limits.ts'
import { type BencodeInput, encodeBencode } from './bencode.ts'
import { parseInfoHash, torrentIdOf } from './info-hash.ts'
import { encodeMetainfo, type Metainfo, metainfoFromInfo, parseMetainfo } from './metainfo.ts'
import { pieceHashV2 } from './piece-hash.ts'

type Fields = Record<string, BencodeInput | undefined>

const hashes = (count: number) => new Uint8Array(count * 20).map((_, index) => index)
const single: Fields = { name: 'a.bin', 'piece length': 4, length: 10, pieces: hashes(3) }
const several = (files: BencodeInput, pieces = 3): Fields => ({
  name: 'dir',
  'piece length': 4,
  files,
  pieces: hashes(pieces),
})
const torrent = (info: Fields, beside: Fields = {}) => encodeBencode({ ...beside, info })
const parse = (info: Fields, beside: Fields = {}) => parseMetainfo(torrent(info, beside))
const paths = (metainfo: Metainfo) => metainfo.files.map(({ path }) => path.toString())
const failure = (code: string, message = /./) =>
  expect.objectContaining({ code, message: expect.stringMatching(message) })
const invalid = (field: RegExp) => failure('ISTHMUS_METAINFO_INVALID', field)
const hex = (bytes: Uint8Array | undefined) => Buffer.from(bytes ?? []).toString('hex')

describe('parseMetainfo, v1', () => {
  test('reads a torrent of one file', () => {
    const metainfo = parse(single, {
      announce: 'http://tracker.test/announce',
      comment: 'hello',
      'created by': 'me',
      'creation date': 86_400,
    })
    expect(metainfo).toMatchObject({
      id: { v1: createHash('sha1').update(encodeBencode(single)).digest('hex') },
      infoHash: metainfo.id.v1,
      name: 'a.bin',
      version: 'v1',
      length: 10,
      multiFile: false,
      private: false,
      trackers: [['http://tracker.test/announce']],
      webSeeds: [],
      comment: 'hello',
      createdBy: 'me',
      creationDate: new Date('1970-01-02T00:00:00Z'),
      pieceHashes: hashes(3),
    })
    expect(metainfo.id.v2).toBeUndefined()
    expect(paths(metainfo)).toEqual(['a.bin'])
    expect(metainfo.infoBytes).toEqual(encodeBencode(single))
    expect([metainfo.layout.pieceCount, metainfo.layout.pieceSize(2)]).toEqual([3, 2])
  })

  test('the info hash is over the original bytes, also where keys are out of order', () => {
    const info = Buffer.concat([
      Buffer.from('d6:pieces20:'),
      hashes(1),
      Buffer.from('12:piece lengthi4e4:name1:a6:lengthi4ee'),
    ])
    const bytes = Buffer.concat([Buffer.from('d4:info'), info, Buffer.from('e')])
    const metainfo = parseMetainfo(bytes)
    expect(metainfo.infoHash).toBe(createHash('sha1').update(info).digest('hex'))
    expect(Buffer.from(metainfo.infoBytes).equals(info)).toBe(true)
  })

  test('paths of many files start with the name; padding and symlinks are not listed', () => {
    const metainfo = parse(
      several([
        { length: 3, path: ['a'] },
        { length: 1, path: ['.pad', '1'], attr: 'p' },
        { length: 2, attr: 'xp' },
        { length: 0, path: ['empty'], attr: 'x' },
        { path: ['link'], attr: 'l', 'symlink path': ['..', '..', 'etc', 'passwd'] },
        { length: 4, path: ['.pad', '4'] },
      ]),
    )
    expect(metainfo.multiFile).toBe(true)
    expect(
      metainfo.files.map(({ index, path, length, offset }) => [index, `${path}`, length, offset]),
    ).toEqual([
      [0, 'dir/a', 3, 0],
      [1, 'dir/empty', 0, 6],
      [2, 'dir/.pad/4', 4, 6],
    ])
    expect([metainfo.length, metainfo.layout.length]).toEqual([7, 10])
  })

  test('UTF-8 names are preferred where they are valid', () => {
    const latin1 = Uint8Array.of(0xe9)
    const names = (fields: Fields, file: Fields) =>
      paths(
        parse({ ...several([{ length: 10, path: [latin1], ...file }]), name: latin1, ...fields }),
      )
    expect(names({}, {})).toEqual(['\uFFFD/\uFFFD'])
    expect(names({ 'name.utf-8': 'é' }, { 'path.utf-8': ['è'] })).toEqual(['é/è'])
    expect(names({ 'name.utf-8': latin1 }, { 'path.utf-8': [latin1] })).toEqual(['\uFFFD/\uFFFD'])
    expect(names({ 'name.utf-8': 5 }, { 'path.utf-8': [] })).toEqual(['\uFFFD/\uFFFD'])
  })

  test('a torrent of empty files has no pieces', () => {
    const metainfo = parse(several([{ length: 0, path: ['a'] }], 0))
    expect([metainfo.length, metainfo.layout.pieceCount, metainfo.files.length]).toEqual([0, 0, 1])
  })

  test('two entries of one name are two files', () => {
    const file = { length: 5, path: ['a'] }
    expect(paths(parse(several([file, file])))).toEqual(['dir/a', 'dir/a'])
  })

  const bare = (fields: Fields) => ({ ...single, ...fields })
  const file = (fields: Fields) => several([{ length: 10, path: ['a'], ...fields }])
  test.each<[string, Fields, RegExp]>([
    ['no name', bare({ name: undefined }), /^info\.name /],
    ['a number for a name', bare({ name: 1 }), /^info\.name /],
    ['no piece length', bare({ 'piece length': undefined }), /^info\.piece length /],
    ['a piece length of 0', bare({ 'piece length': 0 }), /^info\.piece length /],
    ['a negative piece length', bare({ 'piece length': -4 }), /^info\.piece length /],
    ['a piece length past 2^53', bare({ 'piece length': 2n ** 60n }), /^info\.piece length /],
    ['no pieces', bare({ pieces: undefined }), /^info\.pieces /],
    ['a hash too few', bare({ pieces: hashes(2) }), /^info\.pieces /],
    ['a hash too many', bare({ pieces: hashes(4) }), /^info\.pieces /],
    ['a broken hash', bare({ pieces: hashes(3).subarray(1) }), /^info\.pieces /],
    ['neither length nor files', bare({ length: undefined }), /^info /],
    ['both length and files', bare({ files: [] }), /^info /],
    ['a negative length', bare({ length: -1 }), /^info\.length /],
    ['a length past 2^53', bare({ length: 2n ** 53n }), /^info\.length /],
    ['a length of text', bare({ length: '10' }), /^info\.length /],
    ['no files', several([]), /^info\.files /],
    ['nothing but padding', several([{ length: 10, attr: 'p' }]), /^info\.files /],
    ['files that are no list', several({ a: 1 }), /^info\.files /],
    ['a file that is no dictionary', several(['a']), /^info\.files\[0\] /],
    ['a file without length', file({ length: undefined }), /^info\.files\[0\]\.length /],
    ['a file without path', file({ path: undefined }), /^info\.files\[0\]\.path /],
    ['an empty path', file({ path: [] }), /^info\.files\[0\]\.path /],
    ['a path of text', file({ path: 'a' }), /^info\.files\[0\]\.path /],
    ['a path of numbers', file({ path: [1] }), /^info\.files\[0\]\.path /],
    ['a symlink with bytes', file({ attr: 'l' }), /^info\.files\[0\]\.length /],
    ['a meta version of 1', bare({ 'meta version': 1 }), /^info\.meta version /],
    [
      'lengths that add up past 2^53',
      several([
        { length: 2 ** 53 - 1, path: ['a'] },
        { length: 2 ** 53 - 1, path: ['b'] },
      ]),
      /^info\.files adds up/,
    ],
  ])('refuses %s', (_, info, field) => {
    expect(() => parse(info)).toThrow(invalid(field))
  })

  test('a newer version is unsupported, whatever else is wrong', () => {
    expect(() => parse({ 'meta version': 3 })).toThrow(failure('ISTHMUS_METAINFO_UNSUPPORTED'))
  })

  test.each([['..'], ['../x'], ['a/b'], [''], ['.'], ['a\0'], ['x'.repeat(1025)]])(
    'refuses the name %j wherever it stands',
    (name) => {
      const unsafe = failure('ISTHMUS_PATH_UNSAFE')
      const tree = {
        'meta version': 2,
        'piece length': 16_384,
        name: 'a',
        pieces: undefined,
        length: undefined,
      }
      expect(() => parse({ ...single, name })).toThrow(unsafe)
      expect(() => parse(file({ path: ['a', name] }))).toThrow(unsafe)
      expect(() => parse(file({ 'path.utf-8': [name] }))).toThrow(unsafe)
      expect(() => metainfoFromInfo(encodeBencode(file({ path: [name] })))).toThrow(unsafe)
      if (name === '') return // marks a file there
      for (const inner of [
        { [name]: { '': { length: 0 } } },
        { b: { [name]: { '': { length: 0 } } } },
      ]) {
        expect(() => parse({ ...tree, 'file tree': inner })).toThrow(unsafe)
      }
    },
  )

  test('what is no dictionary with an info dictionary is refused', () => {
    expect(() => parseMetainfo(encodeBencode([]))).toThrow(invalid(/^the torrent /))
    expect(() => parseMetainfo(encodeBencode({}))).toThrow(invalid(/^info /))
    expect(() => parseMetainfo(encodeBencode({ info: 'x' }))).toThrow(invalid(/^info /))
    expect(() => parseMetainfo(new Uint8Array())).toThrow(failure('ISTHMUS_BENCODE_INVALID'))
  })

  test.each([
    ['metainfoBytes', 50],
    ['pieces', 2],
    ['pieceBytes', 3],
    ['files', 1],
    ['torrentPathBytes', 200],
  ] as const)('over the limit %s is ISTHMUS_METAINFO_TOO_LARGE', (name, limit) => {
    const info = several([
      { length: 5, path: ['a'] },
      { length: 5, path: ['b'] },
    ])
    const limits = createLimits({ [name]: limit })
    const tooLarge = failure('ISTHMUS_METAINFO_TOO_LARGE')
    expect(() => parseMetainfo(torrent(info), { limits })).toThrow(tooLarge)
    expect(() => metainfoFromInfo(encodeBencode(info), { limits })).toThrow(tooLarge)
  })
})

describe('parseMetainfo, beside the info', () => {
  const sources = (beside: Fields) => parse(single, beside)

  test('optional fields that make no sense are left out', () => {
    const metainfo = sources({
      comment: 5,
      'created by': [],
      'creation date': 2n ** 60n,
      announce: 7,
      'announce-list': 'x',
      'url-list': { a: 1 },
    })
    expect([metainfo.comment, metainfo.createdBy, metainfo.creationDate]).toEqual([
      undefined,
      undefined,
      undefined,
    ])
    expect([metainfo.trackers, metainfo.webSeeds]).toEqual([[], []])
    expect(sources({ 'creation date': 2 ** 53 - 1 }).creationDate).toBeUndefined()
    expect(sources({ comment: Uint8Array.of(0xff) }).comment).toBeUndefined()
    expect(sources({ comment: 'x'.repeat(100_000) }).comment).toBeUndefined()
  })

  test('tiers come from announce-list, else from announce', () => {
    const announce = 'http://one.test/a'
    expect(sources({ announce }).trackers).toEqual([[announce]])
    expect(sources({ announce, 'announce-list': [] }).trackers).toEqual([[announce]])
    expect(sources({ announce, 'announce-list': [['ftp://x.test']] }).trackers).toEqual([
      [announce],
    ])
    expect(
      sources({
        announce,
        'announce-list': [
          ['udp://two.test:80', 'wss://no.test', 'http://three.test/a', 5],
          [],
          'https://four.test/a',
          ['udp://two.test:80', 'javascript:alert(1)', 'http://', ''],
        ],
      }).trackers,
    ).toEqual([['udp://two.test:80', 'http://three.test/a'], ['https://four.test/a']])
  })

  test('no more trackers and web seeds are kept than the limits say', () => {
    const urls = Array.from({ length: 200 }, (_, index) => `http://h${index}.test/`)
    const tiers = urls.map((url) => [url, `${url}b`])
    const metainfo = sources({ 'announce-list': tiers, 'url-list': urls })
    expect(metainfo.trackers.flat()).toHaveLength(64)
    expect(metainfo.trackers[1]).toEqual(['http://h1.test/', 'http://h1.test/b'])
    expect(metainfo.webSeeds).toEqual(urls.slice(0, 16))
  })

  test('web seeds are a text or a list, http and https only', () => {
    expect(sources({ 'url-list': 'http://seed.test/x' }).webSeeds).toEqual(['http://seed.test/x'])
    expect(
      sources({ 'url-list': ['ftp://a.test/', 'https://b.test/', 'file:///etc/passwd', ''] })
        .webSeeds,
    ).toEqual(['https://b.test/'])
  })

  test('private is 1 and nothing else', () => {
    expect(parse({ ...single, private: 1 }).private).toBe(true)
    expect(parse({ ...single, private: 0 }).private).toBe(false)
    expect(parse({ ...single, private: '1' }).private).toBe(false)
  })
})

describe('metainfoFromInfo', () => {
  const info = encodeBencode(single)
  const { id } = parse(single)

  test('reads what parseMetainfo reads, for bytes of the expected hash', () => {
    const trackers = [['http://tracker.test/']]
    const metainfo = metainfoFromInfo(info, { expect: id, trackers })
    expect(metainfo).toEqual({ ...parse(single), trackers })
    expect(metainfo.infoBytes.buffer).not.toBe(info.buffer)
  })

  test('other bytes are refused', () => {
    const other = torrentIdOf(parseInfoHash('00'.repeat(20)))
    expect(() => metainfoFromInfo(info, { expect: other })).toThrow(invalid(/another info hash/))
    const v2 = torrentIdOf(parseInfoHash('00'.repeat(32)))
    expect(() => metainfoFromInfo(info, { expect: { ...id, ...v2 } })).toThrow(invalid(/another/))
    expect(() => metainfoFromInfo(Buffer.from('not bencode'), { expect: id })).toThrow(
      invalid(/another info hash/),
    )
  })

  test('a hash of one version is not an id of the other', () => {
    const v2 = torrentIdOf(parseInfoHash(createHash('sha256').update(info).digest('hex')))
    expect(() => metainfoFromInfo(info, { expect: v2 })).toThrow(invalid(/not of the version/))
  })

  test('piece layers are not known yet', () => {
    const { infoBytes, id } = parseMetainfo(hybridTorrent)
    const metainfo = metainfoFromInfo(infoBytes, { expect: id })
    expect(metainfo.pieceLayers.size).toBe(0)
    expect(pieceHashV2(metainfo, 0)).toBeUndefined()
    expect(hex(pieceHashV2(metainfo, 5))).toHaveLength(64)
    expect(() => encodeMetainfo(metainfo)).toThrow(failure('ISTHMUS_METADATA_MISSING'))
  })
})

describe('encodeMetainfo', () => {
  test.each([
    ['v2', v2Torrent],
    ['hybrid', hybridTorrent],
  ])('gives back the %s torrent of another client', (_, bytes) => {
    const metainfo = parseMetainfo(bytes)
    expect(parseMetainfo(encodeMetainfo(metainfo))).toEqual(metainfo)
  })

  test('trackers and web seeds can be replaced', () => {
    const trackers = [['http://a.test/', 'udp://b.test:1'], ['http://c.test/']]
    const bytes = encodeMetainfo(parse(single), { trackers, webSeeds: ['http://w.test/'] })
    const { trackers: tiers, webSeeds } = parseMetainfo(bytes)
    expect([tiers, webSeeds]).toEqual([trackers, ['http://w.test/']])
    expect(
      Buffer.from(encodeMetainfo(parseMetainfo(bytes), { trackers: [], webSeeds: [] })),
    ).toEqual(Buffer.from(torrent(single)))
  })
})
