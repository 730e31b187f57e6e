import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { VirtualClock } from './virtual-clock.ts'

function runAll(clock: VirtualClock): void {
  while (clock.step());
}

describe('VirtualClock', () => {
  test('lets events happen in the order of their time, then of scheduling', () => {
    fc.assert(
      fc.property(fc.array(fc.nat(20)), (times) => {
        const clock = new VirtualClock()
        const happened: { at: number; order: number }[] = []
        for (const [order, at] of times.entries()) {
          clock.at(at, () => {
            expect(clock.now).toBe(at)
            happened.push({ at, order })
          })
        }
        runAll(clock)
        const expected = times.map((at, order) => ({ at, order }))
        expect(happened).toEqual(expected.sort((a, b) => a.at - b.at || a.order - b.order))
        expect(clock.happened).toBe(times.length)
      }),
      { seed: 20_240_501 },
    )
  })

  test('leaves out what was cancelled, and what comes after the end', () => {
    const clock = new VirtualClock()
    const happened: string[] = []
    const cancelled = clock.after(1, () => happened.push('cancelled'))
    clock.after(2, () => happened.push('two'))
    clock.after(30, () => happened.push('thirty'))
    cancelled.cancel()
    while (clock.step(10));
    expect([happened, clock.now]).toEqual([['two'], 2])
  })

  test('does now what is scheduled for the past', () => {
    const clock = new VirtualClock()
    const times: number[] = []
    clock.at(10, () => clock.at(5, () => times.push(clock.now)))
    runAll(clock)
    expect(times).toEqual([10])
  })
})
