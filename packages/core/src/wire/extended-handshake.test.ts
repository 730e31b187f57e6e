import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { mutationsOf, propertyOptions } from '../../../../test/support/property.ts'
import { isIsthmusError } from '../errors.ts'
import { type BencodeInput, encodeBencode } from '../metainfo/bencode.ts'
import { decodeExtendedHandshake } from './extended-handshake.ts'

const latin1 = (text: string) => Buffer.from(text, 'latin1')
const decode = (value: BencodeInput) => decodeExtendedHandshake(encodeBencode(value))

describe('an extended handshake', () => {
  test('tells extensions, metadata size, queue, port and upload-only', () => {
    const handshake = decode({
      m: { ut_metadata: 3, ut_pex: 1, LT_metadata: 14, ut_holepunch: 0 },
      metadata_size: 31_235,
      p: 6881,
      reqq: 250,
      upload_only: 1,
      v: 'some client',
      yourip: latin1('\xc0\x00\x02\x09'),
    })
    expect(handshake).toEqual({
      extensions: { ut_metadata: 3, ut_pex: 1, LT_metadata: 14, ut_holepunch: 0 },
      metadataSize: 31_235,
      requestQueue: 250,
      port: 6881,
      uploadOnly: true,
      yourAddress: '192.0.2.9',
    })
  })

  test('may be empty', () => {
    const handshake = decode({})
    expect(Object.keys(handshake.extensions)).toEqual([])
    expect(handshake).toMatchObject({ metadataSize: undefined, uploadOnly: undefined })
    expect(decode({ upload_only: 0 }).uploadOnly).toBe(false)
  })

  test('may have its keys in any order, as some clients write them', () => {
    const bytes = latin1('d1:v1:x1:md11:ut_metadatai2e6:ut_pexi1eee')
    expect(decodeExtendedHandshake(bytes).extensions).toEqual({ ut_metadata: 2, ut_pex: 1 })
  })

  test.each([
    ['nothing', ''],
    ['a list', 'le'],
    ['a string', '1:a'],
    ['half a dictionary', 'd1:m'],
    ['bytes behind it', 'de0:'],
    ['a key twice', 'd1:pi1e1:pi2ee'],
    ['a length with a sign', 'd1:v-1:xe'],
    ['a leading zero', 'd1:pi01ee'],
    ['a string past the end', 'd1:v99999999999:xe'],
    ['17 levels', `d1:a${'l'.repeat(16)}${'e'.repeat(16)}e`],
    ['too many values', `d1:al${'0:'.repeat(4096)}ee`],
  ])('that is %s is refused', (_, text) => {
    expectBroken(() => decodeExtendedHandshake(latin1(text)))
  })
})

describe('fields that make no sense', () => {
  test('are left out', () => {
    const wrong: BencodeInput[] = [-1, 0, 'x', [], {}, 2n ** 63n, -(2n ** 62n), new Uint8Array(3)]
    for (const value of wrong) {
      const handshake = decode({ metadata_size: value, reqq: value, p: value, m: value })
      expect(handshake).toEqual({
        extensions: {},
        metadataSize: undefined,
        requestQueue: undefined,
        port: undefined,
        uploadOnly: undefined,
      })
    }
    expect(decode({ p: 65_536 }).port).toBeUndefined()
    expect(decode({ p: 65_535 }).port).toBe(65_535)
    expect(decode({ upload_only: 'yes' }).uploadOnly).toBe(false)
  })

  test('are left out among the extensions', () => {
    const m = { a: -1, b: 256, c: 'x', d: [], e: {}, f: 2n ** 60n, ok: 255, off: 0 }
    expect({ ...decode({ m }).extensions }).toEqual({ ok: 255, off: 0 })
    const names = { '': 1, _x: 1, '1x': 1, 'a b': 1, 'a\0': 1, ünï: 1, [`a${'b'.repeat(32)}`]: 1 }
    expect({ ...decode({ m: names }).extensions }).toEqual({})
    expect({ ...decode({ m: { [`a${'b'.repeat(31)}`]: 1 } }).extensions }).not.toEqual({})
  })
})

describe('names of the language', () => {
  test('are no extensions, and change no prototype', () => {
    const m = new Map([
      ['__proto__', 7],
      ['ut_metadata', 2],
    ])
    const { extensions } = decodeExtendedHandshake(encodeBencode({ m }))
    expect(Object.getPrototypeOf(extensions)).toBe(null)
    expect(Object.keys(extensions)).toEqual(['ut_metadata'])
    expect(({} as Record<string, unknown>).ut_metadata).toBeUndefined()
    const nested = new Map([['__proto__', { ut_metadata: 9 }]])
    expect(decode({ m: nested }).extensions.ut_metadata).toBeUndefined()
  })

  test('are not found where no peer said them', () => {
    const { extensions } = decode({ m: {} })
    expect(extensions.constructor).toBeUndefined()
    expect(extensions.toString).toBeUndefined()
    expect(decode({ m: { constructor: 5 } }).extensions.constructor).toBe(5)
  })
})

test('no more than 64 extensions are kept', () => {
  const m = Object.fromEntries(Array.from({ length: 300 }, (_, index) => [`ext${index}`, 1]))
  expect(Object.keys(decode({ m }).extensions)).toHaveLength(64)
})

test('whatever comes, it is refused as a broken protocol, or its fields are what their types say', () => {
  const samples = [
    { m: { ut_metadata: 3, ut_pex: 1 }, metadata_size: 31_235, p: 6881, reqq: 250, v: 'some' },
    { m: { lt_donthave: 7 }, upload_only: 1, yourip: Buffer.of(127, 0, 0, 1) },
    {},
  ].map((value) => encodeBencode(value))
  let accepted = 0
  const options = propertyOptions('extended handshakes')
  fc.assert(
    fc.property(mutationsOf(samples), (bytes) => {
      let handshake: ReturnType<typeof decodeExtendedHandshake>
      try {
        handshake = decodeExtendedHandshake(bytes)
      } catch (error) {
        if (isIsthmusError(error, 'ISTHMUS_WIRE_PROTOCOL')) return
        throw error
      }
      accepted++
      for (const id of Object.values(handshake.extensions)) assertInteger(id, 0, 255)
      assertInteger(handshake.metadataSize ?? 1, 1, Number.MAX_SAFE_INTEGER)
      assertInteger(handshake.requestQueue ?? 1, 1, Number.MAX_SAFE_INTEGER)
      assertInteger(handshake.port ?? 1, 1, 65_535)
    }),
    options,
  )
  expect(accepted).toBeGreaterThan(options.numRuns / 100)
}, 60_000)

function assertInteger(value: number, least: number, most: number): void {
  if (!Number.isSafeInteger(value) || value < least || value > most) throw new Error(`${value}`)
}

function expectBroken(run: () => void): void {
  let thrown: unknown
  try {
    run()
  } catch (error) {
    thrown = error
  }
  expect(isIsthmusError(thrown, 'ISTHMUS_WIRE_PROTOCOL')).toBe(true)
}
