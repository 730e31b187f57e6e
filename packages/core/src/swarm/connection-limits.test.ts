import { describe, expect, test, vi } from 'vitest'
import { ConnectionLimits } from './connection-limits.ts'

const never = () => {}

describe('ConnectionLimits', () => {
  test('opens so many at a time, and goes on as soon as one is open', () => {
    const limits = new ConnectionLimits({ clientPeers: 10, halfOpen: 2 })
    const retry = vi.fn()
    expect(limits.tryOpen(never)).toBe(true)
    expect(limits.tryOpen(never)).toBe(true)
    expect(limits.tryOpen(retry)).toBe(false)
    expect(limits.connected).toBe(2)
    limits.opened()
    expect(retry).toHaveBeenCalledTimes(1)
    expect(limits.tryOpen(retry)).toBe(true)
    expect(limits.connected).toBe(3)
  })

  test('has room for so many in all, those that came in among them', () => {
    const limits = new ConnectionLimits({ clientPeers: 2, halfOpen: 9 })
    const retry = vi.fn()
    limits.accepted()
    expect(limits.hasRoom).toBe(true)
    expect(limits.tryOpen(never)).toBe(true)
    expect(limits.hasRoom).toBe(false)
    expect(limits.tryOpen(retry)).toBe(false)
    limits.closed()
    expect(limits.hasRoom).toBe(true)
    expect(retry).toHaveBeenCalledTimes(1)
  })

  test('one that failed while it opened gives both places back', () => {
    const limits = new ConnectionLimits({ clientPeers: 1, halfOpen: 1 })
    for (let round = 0; round < 5; round++) {
      expect(limits.tryOpen(never)).toBe(true)
      limits.opened()
      limits.closed()
      expect(limits.connected).toBe(0)
    }
  })

  test('who waits is called once, and may wait again', () => {
    const limits = new ConnectionLimits({ clientPeers: 1, halfOpen: 1 })
    limits.tryOpen(never)
    limits.opened()
    const retry = vi.fn(() => void limits.tryOpen(retry))
    limits.tryOpen(retry)
    limits.tryOpen(retry)
    limits.closed()
    expect(retry).toHaveBeenCalledTimes(1)
    expect(limits.connected).toBe(1)
  })

  test('who is forgotten is not called', () => {
    const limits = new ConnectionLimits({ clientPeers: 1, halfOpen: 1 })
    limits.accepted()
    const retry = vi.fn()
    limits.tryOpen(retry)
    limits.forget(retry)
    limits.closed()
    expect(retry).not.toHaveBeenCalled()
  })
})
