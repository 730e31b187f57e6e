import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { mutationsOf, propertyOptions } from '../../../../test/support/property.ts'
import { isIsthmusError } from '../errors.ts'
import { createLimits } from '../limits.ts'
import { parseInfoHash } from './info-hash.ts'
import { formatMagnet, type Magnet, parseMagnet } from './magnet.ts'

const V1 = '0123456789abcdef0123456789abcdef01234567'
const BASE32 = 'AERUKZ4JVPG66AJDIVTYTK6N54ASGRLH'
const V2 = '00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff'
const XT = `xt=urn:btih:${V1}`
const parse = (parameters: string) => parseMagnet(`magnet:?${parameters}`)
const invalid = (message: RegExp = /./) =>
  expect.objectContaining({
    code: 'ISTHMUS_MAGNET_INVALID',
    message: expect.stringMatching(message),
  })

describe('parseMagnet', () => {
  test('a link of nothing but a hash has empty lists', () => {
    expect(parse(XT)).toEqual({
      id: { v1: V1 },
      trackers: [],
      webSeeds: [],
      exactSources: [],
      peers: [],
    })
  })

  test.each([
    [`xt=urn:btih:${V1.toUpperCase()}`, { v1: V1 }],
    [`xt=urn:btih:${BASE32}`, { v1: V1 }],
    [`xt=URN:BTIH:${BASE32.toLowerCase()}`, { v1: V1 }],
    [`xt=urn%3Abtih%3A${V1}`, { v1: V1 }],
    [`xt=urn:btmh:1220${V2}`, { v2: V2 }],
    [`xt=urn:btih:${V1}&xt=urn:btmh:1220${V2.toUpperCase()}`, { v1: V1, v2: V2 }],
    [`xt.1=urn:btih:${V1}&xt.2=urn:btmh:1220${V2}`, { v1: V1, v2: V2 }],
    [`xt=urn:sha1:YNCKHTQCWBTRNJIV4WNAE52SJUQCZO5C&${XT}`, { v1: V1 }],
    [`${XT}&xt=urn:btih:${BASE32}`, { v1: V1 }],
    [`XT=urn:btih:${V1}`, { v1: V1 }],
  ])('%s names the torrent', (parameters, id) => {
    expect(parse(parameters).id).toEqual(id)
  })

  test.each([
    ['', /start with/],
    ['magnet:', /start with/],
    [`http://a.test/?${XT}`, /start with/],
    [` magnet:?${XT}`, /start with/],
    ['magnet:?', /names no torrent/],
    ['magnet:?dn=a', /names no torrent/],
    ['magnet:?xt=', /names no torrent/],
    ['magnet:?xt=urn:sha1:YNCKHTQCWBTRNJIV4WNAE52SJUQCZO5C', /names no torrent/],
    ['magnet:?xt=urn:btih:', /malformed urn:btih/],
    [`magnet:?xt=urn:btih:${V1}0`, /malformed urn:btih/],
    [`magnet:?xt=urn:btih:${V2}`, /malformed urn:btih/],
    [`magnet:?xt=urn:btmh:${V2}`, /malformed urn:btmh/],
    [`magnet:?xt=urn:btmh:1114${V1}`, /malformed urn:btmh/],
    [`magnet:?${XT}&xt=urn:btih:${'0'.repeat(40)}`, /two torrents/],
    [`magnet:?${XT}&dn=%`, /percent escape/],
    [`magnet:?${XT}&dn=%zz`, /percent escape/],
    [`magnet:?${XT}&tr=http://a.test/%4`, /percent escape/],
    [`magnet:?${XT}&so=`, /selection/],
    [`magnet:?${XT}&so=-1`, /selection/],
    [`magnet:?${XT}&so=3-1`, /selection/],
    [`magnet:?${XT}&so=1,,2`, /selection/],
    [`magnet:?${XT}&so=1.5`, /selection/],
    [`magnet:?${XT}&so=99999999999`, /selection/],
    [`magnet:?${XT}&dn=${'x'.repeat(8192)}`, /too long/],
  ])('refuses %s', (uri, message) => {
    expect(() => parseMagnet(uri)).toThrow(invalid(message))
  })

  test('a plus is a space in a name and itself in a URL', () => {
    const magnet = parse(`${XT}&dn=a+b%2Bc&tr=http://a.test/x+y%2Bz`)
    expect(magnet.name).toBe('a b+c')
    expect(magnet.trackers).toEqual(['http://a.test/x+y+z'])
  })

  test('names in other encodings and lone surrogates become U+FFFD', () => {
    expect(parse(`${XT}&dn=caf%E9`).name).toBe('caf\uFFFD')
    expect(parse(`${XT}&dn=a\ud800b`).name).toBe('a\uFFFDb')
    expect(parse(`${XT}&dn=%E6%97%A5%F0%9F%98%80`).name).toBe('日\u{1F600}')
    expect(parse(`${XT}&dn=`).name).toBeUndefined()
  })

  test('trackers are http, https and udp, each once, raw equal signs and all', () => {
    const magnet = parse(
      `${XT}&tr=udp%3A%2F%2Fa.test%3A80&tr.1=http://b.test/a?k=v=w&tr=wss://c.test&tr=udp://a.test:80&tr=x`,
    )
    expect(magnet.trackers).toEqual(['udp://a.test:80', 'http://b.test/a?k=v=w'])
  })

  test('hosts are shown as punycode', () => {
    expect(parse(`${XT}&tr=http://ex%C3%A4mple.test/`).trackers).toEqual([
      'http://xn--exmple-cua.test/',
    ])
  })

  test('web seeds and sources are http and https', () => {
    const magnet = parse(
      `${XT}&ws=https://w.test/f&ws=ftp://w.test/f&xs=http://x.test/t.torrent&xs=urn:btpk:00&xs=file:///etc/passwd`,
    )
    expect(magnet.webSeeds).toEqual(['https://w.test/f'])
    expect(magnet.exactSources).toEqual(['http://x.test/t.torrent'])
  })

  test('peers are IP literals with a port', () => {
    const peers = [
      ['10.0.0.1:6881', '10.0.0.1:6881'],
      ['[2001:DB8::1]:6881', '[2001:db8::1]:6881'],
      ['[::ffff:1.2.3.4]:1', '[::ffff:1.2.3.4]:1'],
      ['peer.test:6881', undefined],
      ['localhost:80', undefined],
      ['10.0.0.1', undefined],
      ['10.0.0.1:0', undefined],
      ['10.0.0.1:65536', undefined],
      ['10.0.0.1:1e3', undefined],
      ['1.2.3:80', undefined],
      ['0x7f.1:80', undefined],
      ['010.0.0.1:80', undefined],
      ['2001:db8::1:6881', undefined],
      ['[fe80::1%25eth0]:80', undefined],
      ['[1.2.3.4]:80', undefined],
    ]
    for (const [text, expected] of peers) {
      expect(parse(`${XT}&x.pe=${text}`).peers).toEqual(expected === undefined ? [] : [expected])
    }
  })

  test('a selection is kept as ranges, sorted and joined, never expanded', () => {
    expect(parse(`${XT}&so=6-8,0,2,4`).selection).toEqual([
      { start: 0, end: 1 },
      { start: 2, end: 3 },
      { start: 4, end: 5 },
      { start: 6, end: 9 },
    ])
    expect(parse(`${XT}&so=0-4294967295,7`).selection).toEqual([{ start: 0, end: 4294967296 }])
    expect(parse(`${XT}&so=3,1-2`).selection).toEqual([{ start: 1, end: 4 }])
    expect(parse(XT).selection).toBeUndefined()
  })

  test('of long lists the first ones are kept', () => {
    const list = (name: string, value: (index: number) => string) =>
      Array.from({ length: 100 }, (_, index) => `${name}=${value(index)}`).join('&')
    const magnet = parse(
      [
        XT,
        list('tr', (index) => `udp://t${index}:1`),
        list('ws', (index) => `http://w${index}`),
        list('xs', (index) => `http://s${index}`),
        list('x.pe', (index) => `10.0.0.1:${index + 1}`),
      ].join('&'),
    )
    const { trackers, webSeeds, exactSources, peers } = magnet
    expect([trackers, webSeeds, exactSources, peers].map((all) => all.length)).toEqual([
      64, 16, 16, 16,
    ])
    expect(trackers[63]).toBe('udp://t63:1')
  })

  test('limits can be changed', () => {
    const limits = createLimits({ magnetCharacters: 70, trackers: 1 })
    const uri = `magnet:?${XT}`
    expect(() => parseMagnet(`${uri}&dn=${'x'.repeat(30)}`, { limits })).toThrow(
      invalid(/too long/),
    )
    expect(parseMagnet(uri, { limits }).id.v1).toBe(V1)
  })
})

describe('formatMagnet', () => {
  test('writes every part', () => {
    const uri = `magnet:?xt=urn:btih:${V1}&xt=urn:btmh:1220${V2}&dn=a%20%26%20b&tr=udp%3A%2F%2Ft.test%3A1&ws=http%3A%2F%2Fw.test%2F&xs=http%3A%2F%2Fx.test%2F&x.pe=10.0.0.1%3A80&so=0,2-4`
    expect(formatMagnet(parseMagnet(uri))).toBe(uri)
  })

  test('a lone surrogate in a name does not throw', () => {
    const magnet = { ...parse(XT), name: '\ud800' }
    expect(formatMagnet(magnet)).toContain('dn=%EF%BF%BD')
  })
})

describe('magnets, with any input', () => {
  const limits = createLimits({ magnetCharacters: 100_000 })
  const samples = [
    `magnet:?xt=urn:btih:${V1}&dn=a+b%20c&tr=udp://t.test:1&tr.1=http://t.test/a?b=c&x.pe=[::1]:80&so=0,2-4`,
    `magnet:?xt=urn:btih:${BASE32}&xt=urn:btmh:1220${V2}&ws=http://w.test/%C3%A9&xs=https://x.test/`,
  ].map((text) => Uint8Array.from(Buffer.from(text)))
  const mutated = mutationsOf(samples).map((bytes) => Buffer.from(bytes).toString('utf8'))
  const random = fc
    .string({ unit: 'binary', maxLength: 60 })
    .map((text) => `magnet:?${XT}&dn=${text}`)

  test('only ISTHMUS_MAGNET_INVALID is thrown, and what is accepted comes back', () => {
    fc.assert(
      fc.property(fc.oneof(mutated, random), (uri) => {
        let magnet: Magnet
        try {
          magnet = parseMagnet(uri)
        } catch (error) {
          if (isIsthmusError(error, 'ISTHMUS_MAGNET_INVALID')) return
          throw error
        }
        // Escapes make it longer, so it may come back past the limit that it went in below.
        assertSame(parseMagnet(formatMagnet(magnet), { limits }), magnet)
      }),
      propertyOptions('magnet mutations'),
    )
  }, 60_000)

  test('every magnet is read as it was written', () => {
    const name = fc.string({ unit: 'binary', minLength: 1, maxLength: 20 })
    const port = fc.integer({ min: 1, max: 65_535 })
    const url = fc
      .tuple(fc.constantFrom('http', 'https'), fc.nat(999), fc.webPath())
      .map(([scheme, host, path]) => new URL(`${scheme}://h${host}.test/${path}`).href)
    const urls = fc.uniqueArray(url, { maxLength: 3 })
    const peer = fc.oneof(
      fc.tuple(fc.ipV4(), port).map(([host, number]) => `${host}:${number}`),
      fc.tuple(fc.ipV6(), port).map(([host, number]) => `[${host.toLowerCase()}]:${number}`),
    )
    const selection = fc.array(
      fc.tuple(fc.integer({ min: 1, max: 99 }), fc.integer({ min: 1, max: 9 })),
      {
        minLength: 1,
        maxLength: 4,
      },
    )
    const magnet = fc.record(
      {
        id: fc.constantFrom(
          { v1: parseInfoHash(V1) },
          { v1: parseInfoHash(V1), v2: parseInfoHash(V2) },
        ),
        name,
        trackers: urls,
        webSeeds: urls,
        exactSources: urls,
        peers: fc.uniqueArray(peer, { maxLength: 3 }),
        selection: selection.map((steps) => {
          let end = 0
          return steps.map(([gap, length]) => {
            const start = end + gap
            end = start + length
            return { start, end }
          })
        }),
      },
      { requiredKeys: ['id', 'trackers', 'webSeeds', 'exactSources', 'peers'] },
    ) as fc.Arbitrary<Magnet>
    fc.assert(
      fc.property(magnet, (given) =>
        assertSame(parseMagnet(formatMagnet(given), { limits }), given),
      ),
      propertyOptions('magnet round trip'),
    )
  }, 60_000)
})

function assertSame(a: Magnet, b: Magnet): void {
  const { id, name, trackers, webSeeds, exactSources, peers, selection } = b
  const texts = [a, { id, name, trackers, webSeeds, exactSources, peers, selection }].map(
    (magnet) => JSON.stringify(magnet),
  )
  if (texts[0] !== texts[1]) throw new Error(`${texts[0]} is not ${texts[1]}`)
}
