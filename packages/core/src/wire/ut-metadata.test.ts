import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { mutationsOf, propertyOptions } from '../../../../test/support/property.ts'
import { isIsthmusError } from '../errors.ts'
import { encodeBencode } from '../metainfo/bencode.ts'
import {
  decodeMetadataMessage,
  encodeMetadataData,
  encodeMetadataReject,
  encodeMetadataRequest,
  METADATA_PIECE_LENGTH,
  type MetadataMessage,
  metadataPieceCount,
} from './ut-metadata.ts'

const latin1 = (text: string) => Buffer.from(text, 'latin1')
const info = Uint8Array.from({ length: METADATA_PIECE_LENGTH * 2 + 5 }, (_, index) => index % 251)

describe('messages of BEP 9', () => {
  test('are written as the BEP has them', () => {
    expect(text(encodeMetadataRequest(0))).toBe('d8:msg_typei0e5:piecei0ee')
    expect(text(encodeMetadataReject(3))).toBe('d8:msg_typei2e5:piecei3ee')
    const data = text(encodeMetadataData(0, Buffer.from('d4:name1:xe')))
    expect(data).toBe('d8:msg_typei1e5:piecei0e10:total_sizei11eed4:name1:xe')
  })

  test('come back as they were', () => {
    expect(decodeMetadataMessage(encodeMetadataRequest(7))).toEqual({ type: 'request', piece: 7 })
    expect(decodeMetadataMessage(encodeMetadataReject(7))).toEqual({ type: 'reject', piece: 7 })
    const count = metadataPieceCount(info.length)
    expect(count).toBe(3)
    const parts = Array.from({ length: count }, (_, piece) => {
      const message = decodeMetadataMessage(encodeMetadataData(piece, info))
      if (message?.type !== 'data') throw new Error('no data')
      expect(message).toMatchObject({ piece, totalSize: info.length })
      return message.data
    })
    expect(parts.map(({ length }) => length)).toEqual([16_384, 16_384, 5])
    expect(Buffer.concat(parts)).toEqual(Buffer.from(info))
  })

  test('have as many pieces as their size needs', () => {
    expect([1, 16_384, 16_385, 32_768].map(metadataPieceCount)).toEqual([1, 1, 2, 2])
  })

  test('of types to come are nobody’s business', () => {
    expect(decodeMetadataMessage(latin1('d8:msg_typei3e5:piecei0ee'))).toBeUndefined()
    expect(decodeMetadataMessage(latin1('d8:msg_typei-1e5:piecei0eexyz'))).toBeUndefined()
  })

  test('may carry fields that nobody knows, and bytes behind a request or reject', () => {
    const more = encodeBencode({ msg_type: 0, piece: 2, later: ['x'] })
    expect(decodeMetadataMessage(more)).toEqual({ type: 'request', piece: 2 })
    const trailing = Buffer.concat([encodeMetadataReject(2), new Uint8Array(40)])
    expect(decodeMetadataMessage(trailing)).toEqual({ type: 'reject', piece: 2 })
  })

  test('carry data that looks like bencode without being read as such', () => {
    const message = decodeMetadataMessage(encodeMetadataData(0, latin1('d1:a')))
    expect(message?.type === 'data' && text(message.data)).toBe('d1:a')
  })
})

describe('what BEP 9 does not allow is refused:', () => {
  const block = 'x'.repeat(20)
  test.each([
    ['nothing', ''],
    ['no dictionary', 'i1e'],
    ['half a dictionary', 'd8:msg_type'],
    ['no fields', 'de'],
    ['no piece', 'd8:msg_typei0ee'],
    ['no type', 'd5:piecei0ee'],
    ['a type of text', 'd8:msg_type1:05:piecei0ee'],
    ['a piece of text', 'd8:msg_typei0e5:piece1:0e'],
    ['a negative piece', 'd8:msg_typei0e5:piecei-1ee'],
    ['a negative piece of data', `d8:msg_typei1e5:piecei-1e10:total_sizei20ee${block}`],
    ['a piece past every number', 'd8:msg_typei0e5:piecei9007199254740993ee'],
    ['a piece of 64 bits', 'd8:msg_typei2e5:piecei18446744073709551615ee'],
    ['data without a size', `d8:msg_typei1e5:piecei0ee${block}`],
    ['data of no size', `d8:msg_typei1e5:piecei0e10:total_sizei0ee${block}`],
    ['data of a negative size', `d8:msg_typei1e5:piecei0e10:total_sizei-20ee${block}`],
    ['data of a huge size', `d8:msg_typei1e5:piecei0e10:total_sizei18446744073709551615ee${block}`],
    ['data of a size in text', `d8:msg_typei1e5:piecei0e10:total_size2:20e${block}`],
    ['data without data', 'd8:msg_typei1e5:piecei0e10:total_sizei20ee'],
    ['a depth of 9', `d1:a${'l'.repeat(8)}${'e'.repeat(8)}8:msg_typei0e5:piecei0ee`],
    ['too many values', `d1:al${'i1e'.repeat(64)}e8:msg_typei0e5:piecei0ee`],
  ])('%s', (_, payload) => {
    expectBroken(() => decodeMetadataMessage(latin1(payload)))
  })

  test('more than 16 KiB of data', () => {
    const head = latin1('d8:msg_typei1e5:piecei0e10:total_sizei20000ee')
    const of = (bytes: number) => Buffer.concat([head, new Uint8Array(bytes)])
    expect(decodeMetadataMessage(of(METADATA_PIECE_LENGTH))?.type).toBe('data')
    expectBroken(() => decodeMetadataMessage(of(METADATA_PIECE_LENGTH + 1)))
  })
})

test('whatever comes, it is refused as a broken protocol, or its fields are what their types say', () => {
  const samples = [
    encodeMetadataRequest(1),
    encodeMetadataReject(12),
    encodeMetadataData(0, latin1('d6:lengthi5e4:name1:xe')),
    encodeMetadataData(1, info.subarray(0, METADATA_PIECE_LENGTH + 30)),
  ]
  let accepted = 0
  const options = propertyOptions('ut_metadata messages')
  fc.assert(
    fc.property(mutationsOf(samples), (bytes) => {
      let message: MetadataMessage | undefined
      try {
        message = decodeMetadataMessage(bytes)
      } catch (error) {
        if (isIsthmusError(error, 'ISTHMUS_WIRE_PROTOCOL')) return
        throw error
      }
      if (message === undefined) return
      accepted++
      const { piece } = message
      if (!Number.isSafeInteger(piece) || piece < 0) throw new Error(`piece ${piece}`)
      if (message.type !== 'data') return
      const { totalSize, data } = message
      if (!Number.isSafeInteger(totalSize) || totalSize <= 0) throw new Error(`size ${totalSize}`)
      if (data.length === 0 || data.length > METADATA_PIECE_LENGTH) throw new Error('its data')
    }),
    options,
  )
  expect(accepted).toBeGreaterThan(options.numRuns / 100)
}, 60_000)

function text(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('latin1')
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
