import { describe, expect, test } from 'vitest'
import { RequestLedger } from './request-ledger.ts'

const request = { piece: 3, begin: 16_384, peer: 'a', now: 1000, arrivalMs: 100 }
const other = { ...request, peer: 'b' }

function reasonsAfter(steps: (ledger: RequestLedger<string>) => void) {
  const ledger = new RequestLedger<string>()
  ledger.asked(request)
  steps(ledger)
  return Object.entries(ledger.reasons).filter(([, count]) => count > 0)
}

describe('RequestLedger', () => {
  test('counts nothing for blocks that are asked for once', () => {
    expect(reasonsAfter((ledger) => ledger.asked({ ...other, begin: 0 }))).toEqual([])
  })

  test.each([
    ['late', { ...other, now: 1101 }],
    ['sooner', { ...other, arrivalMs: 50 }],
    ['unexplained', { ...other, arrivalMs: 90 }],
    ['unexplained', { ...request, now: 1101 }],
  ])('calls it %s', (reason, second) => {
    expect(reasonsAfter((ledger) => ledger.asked(second))).toEqual([[reason, 1]])
  })

  test.each(['left', 'refused', 'choked', 'snubbed', 'unwanted'] as const)(
    'knows that the first one %s',
    (why) => {
      const reasons = reasonsAfter((ledger) => {
        ledger.freed(3, 16_384, 'a', why)
        ledger.asked(other)
      })
      expect(reasons).toEqual([[why, 1]])
    },
  )

  test('finds no reason for what is here, until its piece fails', () => {
    const reasons = reasonsAfter((ledger) => {
      ledger.received(3, 16_384)
      ledger.asked(other)
      ledger.reset(3, 'failed')
      ledger.asked(other)
    })
    expect(reasons).toEqual([
      ['failed', 1],
      ['unexplained', 1],
    ])
  })

  test('says what nothing explains', () => {
    const ledger = new RequestLedger<string>()
    ledger.asked(request)
    ledger.asked({ ...other, arrivalMs: 90 })
    expect(ledger.unexplained).toEqual([
      '1000.0 ms: piece 3 at 16384, due in 100.0 ms, is asked again, to come in 90.0 ms',
    ])
  })
})
