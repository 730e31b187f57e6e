import fc from 'fast-check'
import { expect, test } from 'vitest'
import { propertyOptions } from '../../../../test/support/property.ts'
import { decodeAnswer } from './udp-tracker-messages.ts'

test('any datagram is understood or ignored', { timeout: 60_000 }, () => {
  const transactionId = 0x01020304
  const header = fc
    .constantFrom(0, 1, 2, 3, 0x1000000)
    .map((action) => [0, 0, action >>> 8, action & 0xff, 1, 2, 3, 4])
  const ours = fc
    .tuple(header, fc.uint8Array({ maxLength: 60 }))
    .map(([head, rest]) => Uint8Array.from([...head, ...rest]))
  let understood = 0
  fc.assert(
    fc.property(
      fc.oneof(fc.uint8Array({ maxLength: 40 }), ours),
      fc.constantFrom(4, 6),
      (datagram, family) => {
        const answer = decodeAnswer(datagram, transactionId, family)
        if (answer === undefined) return true
        understood++
        if (answer.kind !== 'announced') return true
        const { intervalMs, peers } = answer.reply
        return intervalMs >= 60_000 && intervalMs <= 7_200_000 && peers.length < 11
      },
    ),
    propertyOptions('UDP tracker datagrams'),
  )
  expect(understood).toBeGreaterThan(0)
})
