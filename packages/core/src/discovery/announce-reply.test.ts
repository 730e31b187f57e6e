import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { propertyOptions } from '../../../../test/support/property.ts'
import { bencode } from '../../../../test/support/tracker.ts'
import { isIsthmusError } from '../errors.ts'
import { parseAnnounceReply } from './announce-reply.ts'

const failed = (message: string) =>
  expect.objectContaining({ code: 'ISTHMUS_TRACKER_FAILED', message })

describe("a tracker's reply", () => {
  test('with every field is read', () => {
    const reply = parseAnnounceReply(
      bencode({
        interval: 900,
        'min interval': 300,
        complete: 3,
        incomplete: 4,
        'tracker id': Uint8Array.of(0xff, 0x41),
        'external ip': Uint8Array.of(192, 0, 2, 9),
        'warning message': 'be nice',
        peers: Uint8Array.of(192, 0, 2, 1, 0x1a, 0xe1),
        peers6: Buffer.from('20010db8000000000000000000000001000150', 'hex').subarray(0, 18),
      }),
    )
    expect(reply).toEqual({
      intervalMs: 900_000,
      minIntervalMs: 300_000,
      seeders: 3,
      leechers: 4,
      trackerId: '\xffA',
      externalAddress: '192.0.2.9',
      warning: 'be nice',
      peers: [
        { host: '192.0.2.1', port: 6881 },
        { host: '2001:db8::1', port: 1 },
      ],
    })
  })

  test('that is empty has no peers and the usual interval', () => {
    expect(parseAnnounceReply(bencode({}))).toEqual({ intervalMs: 1_800_000, peers: [] })
  })

  test('may list peers as dictionaries, of which those with an address are taken', () => {
    const peers = [
      { ip: '192.0.2.1', port: 6881, 'peer id': 'x' },
      { ip: '2001:db8::1', port: 1 },
      { ip: 'host.example', port: 1 },
      { ip: '192.0.2.2', port: 0 },
      { ip: '192.0.2.3', port: 65_536 },
      { ip: '192.0.2.4' },
      { port: 1 },
      'nobody',
      7,
    ]
    expect(parseAnnounceReply(bencode({ peers })).peers).toEqual([
      { host: '192.0.2.1', port: 6881 },
      { host: '2001:db8::1', port: 1 },
    ])
  })

  test('has at most a thousand peers', () => {
    const packed = new Uint8Array(6 * 5000).fill(7)
    expect(parseAnnounceReply(bencode({ peers: packed })).peers).toHaveLength(1000)
    const listed = new Array(1500).fill({ ip: '192.0.2.1', port: 1 })
    expect(parseAnnounceReply(bencode({ peers: listed })).peers).toHaveLength(1000)
  })

  test.each([
    [0, 60_000],
    [-5, 60_000],
    [59, 60_000],
    [61, 61_000],
    [7200, 7_200_000],
    [86_400, 7_200_000],
  ])('with an interval of %i s asks for the next announce after %i ms', (interval, ms) => {
    expect(parseAnnounceReply(bencode({ interval })).intervalMs).toBe(ms)
  })

  test('is not asked again before its minimum', () => {
    const reply = parseAnnounceReply(bencode({ interval: 60, 'min interval': 600 }))
    expect(reply.intervalMs).toBe(600_000)
  })

  test('with integers beyond all bounds is bounded', () => {
    const text =
      'd8:completei18446744073709551615e8:intervali18446744073709551615e12:min intervali-9007199254740993ee'
    const reply = parseAnnounceReply(Buffer.from(text))
    expect(reply).toMatchObject({ intervalMs: 7_200_000, minIntervalMs: 60_000 })
    expect(reply.seeders).toBeUndefined()
  })

  test('with fields of wrong types is one without them', () => {
    const reply = parseAnnounceReply(
      bencode({
        interval: 'soon',
        'min interval': [],
        complete: 'many',
        incomplete: -1,
        'tracker id': 7,
        'external ip': 'here',
        'warning message': 3,
        peers: 12,
        peers6: [],
      }),
    )
    expect(reply).toEqual({
      intervalMs: 1_800_000,
      peers: [],
      externalAddress: '104.101.114.101',
    })
  })

  test('may be followed by a line break', () => {
    expect(parseAnnounceReply(Buffer.from('de\r\n')).peers).toEqual([])
  })

  test('that refuses rejects with its reason, cleaned and bounded', () => {
    const reason = `go\u0000 a\u001b[31mway\u202e\r\n${'!'.repeat(5000)}`
    const refuse = () => parseAnnounceReply(bencode({ 'failure reason': reason }))
    expect(refuse).toThrow(failed(`the tracker refused: go a [31mway ${'!'.repeat(187)}`))
    expect(() => parseAnnounceReply(bencode({ 'failure reason': 7 }))).toThrow(
      failed('the tracker refused: '),
    )
  })

  test.each(['', 'i1e', 'le', 'd', '<html>', '4:x', 'd8:interval', `${'l'.repeat(200_000)}`])(
    'that is no dictionary is a failure: %.20s',
    (text) => {
      expect(() => parseAnnounceReply(Buffer.from(text))).toThrow(
        failed('the tracker answered no bencode'),
      )
    },
  )

  test('whatever it is, is read or rejected with a code', { timeout: 120_000 }, () => {
    const names = [
      'interval',
      'min interval',
      'complete',
      'peers',
      'peers6',
      'tracker id',
      'external ip',
      'failure reason',
      'warning message',
    ]
    const value = fc.letrec<{ value: Parameters<typeof bencode>[0] }>((tie) => ({
      value: fc.oneof(
        { depthSize: 'small' },
        fc.integer(),
        fc.uint8Array({ maxLength: 40 }),
        fc.constantFrom('192.0.2.1', '::1', 'x'),
        fc.array(tie('value'), { maxLength: 4 }),
        fc.dictionary(fc.constantFrom('ip', 'port', 'peer id', '__proto__'), tie('value')),
      ),
    })).value
    const reply = fc.dictionary(fc.constantFrom(...names), value, { maxKeys: 6 })
    const edit = fc.record({ at: fc.nat(), byte: fc.nat(255), cut: fc.boolean() })
    const bytes = fc.oneof(
      fc.uint8Array({ maxLength: 100 }),
      fc.tuple(reply, fc.array(edit, { maxLength: 3 })).map(([fields, edits]) => {
        let encoded: Uint8Array = Uint8Array.from(bencode(fields))
        for (const { at, byte, cut } of edits) {
          if (cut) encoded = encoded.slice(0, at % (encoded.length + 1))
          else encoded[at % encoded.length] = byte
        }
        return encoded
      }),
    )
    let read = 0
    fc.assert(
      fc.property(bytes, (input) => {
        try {
          const { intervalMs, peers } = parseAnnounceReply(input)
          read++
          return intervalMs >= 60_000 && intervalMs <= 7_200_000 && peers.length <= 1000
        } catch (error) {
          return isIsthmusError(error, 'ISTHMUS_TRACKER_FAILED')
        }
      }),
      propertyOptions('tracker replies'),
    )
    expect(read).toBeGreaterThan(0)
  })
})
