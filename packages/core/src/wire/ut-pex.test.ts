import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { mutationsOf, propertyOptions } from '../../../../test/support/property.ts'
import { isIsthmusError } from '../errors.ts'
import { type BencodeInput, encodeBencode } from '../metainfo/bencode.ts'
import { decodePeerExchange, encodePeerExchange } from './ut-pex.ts'

const latin1 = (text: string) => Buffer.from(text, 'latin1')
const decode = (value: BencodeInput) => decodePeerExchange(encodeBencode(value))
const message = {
  added: [
    { address: { host: '192.0.2.1', port: 6881 }, uploadOnly: true, reachable: false },
    { address: { host: '2001:db8::7', port: 51413 }, uploadOnly: false, reachable: true },
  ],
  dropped: [
    { host: '198.51.100.9', port: 1 },
    { host: '2001:db8::8', port: 65535 },
  ],
}

describe('a peer exchange', () => {
  test('has the fields of BEP 11', () => {
    const v6 = `${'\x20\x01\x0d\xb8'}${'\0'.repeat(11)}`
    const expected =
      'd5:added6:\xc0\x00\x02\x01\x1a\xe17:added.f1:\x02' +
      `6:added618:${v6}\x07\xc8\xd58:added6.f1:\x10` +
      `7:dropped6:\xc6\x33\x64\x09\x00\x018:dropped618:${v6}\x08\xff\xffe`
    expect(Buffer.from(encodePeerExchange(message)).toString('latin1')).toBe(expected)
  })

  test('is read as it was written', () => {
    expect(decodePeerExchange(encodePeerExchange(message))).toEqual(message)
  })

  test('may lack any field', () => {
    expect(decode({})).toEqual({ added: [], dropped: [] })
  })

  test('has flags only where there is one for each address', () => {
    const added = latin1('\xc0\x00\x02\x01\x1a\xe1')
    const [peer] = decode({ added, 'added.f': latin1('\x12\x12') }).added
    expect(peer).toEqual({
      address: { host: '192.0.2.1', port: 6881 },
      uploadOnly: false,
      reachable: false,
    })
  })

  test('leaves out port 0, and gives each flag to its address nevertheless', () => {
    const added = latin1('\xc0\x00\x02\x01\x00\x00\xc0\x00\x02\x02\x1a\xe1')
    expect(decode({ added, 'added.f': latin1('\x00\x02') }).added).toEqual([
      { address: { host: '192.0.2.2', port: 6881 }, uploadOnly: true, reachable: false },
    ])
  })

  test.each([
    ['nothing', latin1('')],
    ['a list', latin1('le')],
    ['half a dictionary', latin1('d5:added')],
    ['bytes behind it', latin1('de0:')],
    ['half an address', encodeBencode({ added: latin1('12345') })],
    ['a list of addresses', encodeBencode({ added: [latin1('123456')] })],
    ['more than 200 addresses', encodeBencode({ dropped: Buffer.alloc(6 * 201, 1) })],
    ['too many other things', encodeBencode({ x: Array(200).fill(1) })],
  ])('that is %s is refused', (_, payload) => {
    expectBroken(() => decodePeerExchange(payload))
  })

  test('may have 200 addresses', () => {
    const added = Buffer.alloc(6 * 200, 7)
    expect(decode({ added }).added).toHaveLength(200)
  })
})

test('whatever comes is a message or a broken protocol', () => {
  const sample = encodePeerExchange(message)
  fc.assert(
    fc.property(mutationsOf([sample, encodeBencode({ added: Buffer.alloc(60, 5) })]), (bytes) => {
      try {
        const { added, dropped } = decodePeerExchange(bytes)
        if (added.length > 400 || dropped.length > 400) throw new Error('too many')
      } catch (error) {
        if (!isIsthmusError(error, 'ISTHMUS_WIRE_PROTOCOL')) throw error
      }
    }),
    propertyOptions('peer exchange'),
  )
})

function expectBroken(run: () => unknown): void {
  expect(run).toThrow(expect.objectContaining({ code: 'ISTHMUS_WIRE_PROTOCOL' }))
}
