import { getEventListeners } from 'node:events'
import { describe, expect, test } from 'vitest'
import { IsthmusError } from '../errors.ts'
import { Bitfield } from '../metainfo/bitfield.ts'
import type { Transfer } from '../swarm/transfer.ts'
import { PieceArrivals } from './piece-arrivals.ts'

/** As much of a transfer as is looked at here. */
function pieces() {
  const available = new Bitfield(8)
  const poisoned = new Map<number, IsthmusError>()
  const transfer = {
    store: { available },
    poisonOf: (piece: number) => poisoned.get(piece),
  } as unknown as Transfer
  return { available, poisoned, transfer, arrivals: new PieceArrivals() }
}

describe('PieceArrivals', () => {
  test('does not wait for what is here', () => {
    const { available, transfer, arrivals } = pieces()
    available.set(3)
    expect(arrivals.available(3, transfer)).toBeUndefined()
  })

  test('resolves for all who wait once the piece is here, and not before', async () => {
    const { available, transfer, arrivals } = pieces()
    let settled = 0
    const waiting = [1, 2].map(() =>
      Promise.resolve(arrivals.available(3, transfer)).then(() => settled++),
    )
    arrivals.notify(3)
    arrivals.notify(4)
    await new Promise((resolve) => setImmediate(resolve))
    expect(settled).toBe(0)
    available.set(3)
    arrivals.notify(3)
    await Promise.all(waiting)
    expect(settled).toBe(2)
  })

  test('rejects with why the piece cannot be had, told now or known before', async () => {
    const { poisoned, transfer, arrivals } = pieces()
    const poison = new IsthmusError('ISTHMUS_SWARM_POISONED', 'wrong')
    const waiting = arrivals.available(3, transfer)
    poisoned.set(3, poison)
    arrivals.notify(3)
    await expect(waiting).rejects.toBe(poison)
    await expect(arrivals.available(3, transfer)).rejects.toBe(poison)
  })

  test('rejects with the reason of its signal, and listens to it no longer than it waits', async () => {
    const { available, transfer, arrivals } = pieces()
    const controller = new AbortController()
    const { signal } = controller
    const first = arrivals.available(1, transfer, signal)
    const second = arrivals.available(2, transfer, signal)
    available.set(1)
    arrivals.notify(1)
    await first
    expect(getEventListeners(signal, 'abort')).toHaveLength(1)
    const reason = new Error('enough')
    controller.abort(reason)
    await expect(second).rejects.toBe(reason)
    await expect(arrivals.available(2, transfer, signal)).rejects.toBe(reason)
    expect(getEventListeners(signal, 'abort')).toHaveLength(0)
  })

  test('closing rejects who waits, and who comes later', async () => {
    const { transfer, arrivals } = pieces()
    const waiting = [1, 2].map((piece) => arrivals.available(piece, transfer))
    const reason = new IsthmusError('ISTHMUS_TORRENT_REMOVED', 'gone')
    arrivals.close(reason)
    for (const wait of waiting) await expect(wait).rejects.toBe(reason)
    await expect(arrivals.available(5, transfer)).rejects.toBe(reason)
  })
})
