import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { mutationsOf, propertyOptions } from '../../../../test/support/property.ts'
import { parseDhtMessage } from './dht-message.ts'

const bytes = (text: string) => Uint8Array.from(Buffer.from(text, 'latin1'))
const parse = (text: string) => parseDhtMessage(bytes(text))
const id = 'abcdefghij0123456789'
const target = 'mnopqrstuvwxyz123456'

// The first ones are those that BEP 5 shows.
const samples = [
  `d1:ad2:id20:${id}e1:q4:ping1:t2:aa1:y1:qe`,
  `d1:ad2:id20:${id}6:target20:${target}e1:q9:find_node1:t2:aa1:y1:qe`,
  `d1:ad2:id20:${id}9:info_hash20:${target}e1:q9:get_peers1:t2:aa1:y1:qe`,
  `d1:ad2:id20:${id}12:implied_porti1e9:info_hash20:${target}4:porti6881e5:token8:aoeusnthe1:q13:announce_peer1:t2:aa1:y1:qe`,
  `d1:rd2:id20:${target}e1:t2:aa1:y1:re`,
  `d1:rd2:id20:${id}5:token8:aoeusnth6:valuesl6:axje.u6:idhtnmee1:t2:aa1:y1:re`,
  'd1:eli201e23:A Generic Error Ocurrede1:t2:aa1:y1:ee',
  `d2:ip6:\x7f\0\0\x01\x1a\xe11:rd2:id20:${id}5:nodes26:${target}\x7f\0\0\x01\x1a\xe1e1:t2:aa1:y1:re`,
]

describe('messages of the DHT', () => {
  test('are those of BEP 5', () => {
    const transaction = bytes('aa')
    const asked = { kind: 'query', transaction, id: bytes(id), readOnly: false }
    const answered = { kind: 'response', transaction, nodes: [], values: [] }
    expect(samples.map(parse)).toEqual([
      { ...asked, name: 'ping' },
      { ...asked, name: 'find_node', target: bytes(target) },
      { ...asked, name: 'get_peers', target: bytes(target) },
      { ...asked, name: 'announce_peer', target: bytes(target), token: bytes('aoeusnth') },
      { ...answered, id: bytes(target) },
      {
        ...answered,
        id: bytes(id),
        token: bytes('aoeusnth'),
        values: [bytes('axje.u'), bytes('idhtnm')],
      },
      { kind: 'error', transaction, code: 201 },
      {
        ...answered,
        id: bytes(id),
        nodes: [bytes(`${target}\x7f\0\0\x01\x1a\xe1`)],
        externalAddress: '127.0.0.1',
      },
    ])
  })

  test('a read-only node says so', () => {
    expect(parse(`d1:ad2:id20:${id}e1:q4:ping2:roi1e1:t1:a1:y1:qe`)).toMatchObject({
      readOnly: true,
    })
  })

  test('an announce names its port where it is not implied', () => {
    const announce = (fields: string) =>
      parse(
        `d1:ad2:id20:${id}${fields}5:token1:xe1:q13:announce_peer1:t2:aa1:y1:qe`.replace(
          'H',
          `9:info_hash20:${target}`,
        ),
      )
    expect(announce('H4:porti6881e')).toMatchObject({ port: 6881 })
    expect(announce('12:implied_porti0eH4:porti1e')).toMatchObject({ port: 1 })
    expect(announce('12:implied_porti1eH')).toMatchObject({ name: 'announce_peer' })
    for (const port of ['', '4:porti0e', '4:porti65536e', '4:porti-1e', '4:port1:1']) {
      expect(announce(`H${port}`)).toBeUndefined()
    }
  })

  test('a query that BEP 5 does not know has no name', () => {
    const query = parse(`d1:ad2:id20:${id}e1:q3:get1:t2:aa1:y1:qe`)
    expect(query).toMatchObject({ kind: 'query', name: undefined })
  })

  test('peers that are not 6 bytes are left out', () => {
    const text = `d1:rd2:id20:${id}6:valuesl6:axje.u18:aaaaaaaaaaaaaaaaaai1eleee1:t2:aa1:y1:re`
    expect(parse(text)).toMatchObject({ values: [bytes('axje.u')] })
  })

  test.each([
    ['', 'nothing'],
    ['d-3:e', 'a negative length'],
    ['l-3:e', 'a negative length in a list'],
    [`${'d1:a'.repeat(300)}`, 'nested without end'],
    [`d1:rd2:id20:${id}1:x${'l'.repeat(40)}${'e'.repeat(40)}e1:t2:aa1:y1:re`, 'nested deeply'],
    ['i1e', 'an integer'],
    [`${samples[0]}x`, 'bytes behind it'],
    [`d1:ad2:id20:${id}e1:q4:ping1:t0:1:y1:qe`, 'an empty transaction'],
    [`d1:ad2:id20:${id}e1:q4:ping1:t40:${'a'.repeat(40)}1:y1:qe`, 'a long transaction'],
    [`d1:ad2:id20:${id}e1:q4:ping1:ti1e1:y1:qe`, 'a number as transaction'],
    [`d1:ad2:id20:${id}e1:q4:ping1:y1:qe`, 'no transaction'],
    [`d1:ad2:id20:${id}e1:q4:ping1:t2:aa1:y1:ze`, 'no type'],
    [`d1:ad2:id19:abcdefghij012345678e1:q4:ping1:t2:aa1:y1:qe`, 'a short id'],
    ['d1:ade1:q4:ping1:t2:aa1:y1:qe', 'no id'],
    ['d1:ale1:q4:ping1:t2:aa1:y1:qe', 'arguments that are a list'],
    [`d1:ad2:id20:${id}6:target3:abce1:q9:find_node1:t2:aa1:y1:qe`, 'a short target'],
    [`d1:ad2:id20:${id}e1:q9:get_peers1:t2:aa1:y1:qe`, 'no info hash'],
    [`d1:rd2:id20:${id}5:nodes25:${'a'.repeat(25)}e1:t2:aa1:y1:re`, 'half a node'],
    [`d1:rd2:id20:${id}5:nodesi1ee1:t2:aa1:y1:re`, 'nodes as a number'],
    [`d1:rd2:id20:${id}6:values6:axje.ue1:t2:aa1:y1:re`, 'peers as a string'],
    ['d1:e3:abc1:t2:aa1:y1:ee', 'an error as a string'],
    ['d1:ele1:t2:aa1:y1:ee', 'an error without a code'],
    [`d1:ad2:id20:${id}1:x1500:${'a'.repeat(1500)}e1:q4:ping1:t2:aa1:y1:qe`, 'too many bytes'],
  ])('%j is none: %s', (text) => {
    expect(parse(text)).toBeUndefined()
  })

  test('are all that comes out of any input, within their bounds', () => {
    const input = fc.oneof(mutationsOf(samples.map(bytes)), fc.uint8Array({ maxLength: 100 }))
    fc.assert(
      fc.property(input, (datagram) => {
        const message = parseDhtMessage(datagram)
        if (message === undefined) return
        const { transaction } = message
        if (transaction.length === 0 || transaction.length > 32) throw new Error('transaction')
        if (message.kind !== 'error' && message.id.length !== 20) throw new Error('id')
        if (message.kind === 'query') {
          if (message.target !== undefined && message.target.length !== 20)
            throw new Error('target')
          const { port = 1 } = message
          if (!(port >= 1 && port <= 65_535)) throw new Error('port')
        }
        if (message.kind === 'response') {
          if (message.nodes.some((node) => node.length !== 26)) throw new Error('node')
          if (message.values.some((value) => value.length !== 6)) throw new Error('value')
        }
      }),
      propertyOptions('DHT messages'),
    )
  }, 60_000)
})
