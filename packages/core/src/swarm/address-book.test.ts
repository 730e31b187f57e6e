import { describe, expect, test } from 'vitest'
import type { PeerAddress } from '../discovery/discovery.ts'
import { AddressBook, type KnownPeer } from './address-book.ts'

const at = (port: number, host = '10.0.0.1'): PeerAddress => ({ host, port })
const peerId = (fill: number) => new Uint8Array(20).fill(fill)

function book({ knownAtMost = 100, random = (): number => 0.5 } = {}) {
  return new AddressBook({ knownAtMost, random })
}

function next(addresses: AddressBook, now: number): KnownPeer {
  const peer = addresses.next(now)
  if (peer === undefined) throw new Error('nobody to connect to')
  return peer
}

describe('AddressBook', () => {
  test('knows every address once', () => {
    const addresses = book()
    expect(addresses.add(at(1))).toBe(true)
    expect(addresses.add(at(1))).toBe(false)
    expect(addresses.add(at(1, '::1'))).toBe(true)
    expect(addresses.size).toBe(2)
  })

  test('takes no more than it may know', () => {
    const addresses = book({ knownAtMost: 2 })
    expect([1, 2, 3].map((port) => addresses.add(at(port)))).toEqual([true, true, false])
    expect(addresses.size).toBe(2)
  })

  test('answers who is not connected, and who failed least first', () => {
    const addresses = book()
    addresses.add(at(1))
    const first = next(addresses, 0)
    addresses.connected(first)
    expect(addresses.next(0)).toBeUndefined()
    addresses.disconnected(first, 0, false)
    addresses.add(at(2))
    expect(next(addresses, 1e9).address).toEqual(at(2))
    addresses.connected(next(addresses, 1e9))
    expect(next(addresses, 1e9).address).toEqual(at(1))
  })

  test('waits twice as long after each failure, up to half an hour', () => {
    const addresses = book()
    addresses.add(at(1))
    let now = 0
    const waits: number[] = []
    for (let failure = 0; failure < 30; failure++) {
      const peer = next(addresses, now)
      addresses.connected(peer)
      addresses.disconnected(peer, now, false)
      const again = addresses.nextAt() ?? 0
      expect(addresses.next(again - 1)).toBeUndefined()
      waits.push(again - now)
      now = again
    }
    expect(waits.slice(0, 4)).toEqual([2000, 4000, 8000, 16_000])
    expect(Math.max(...waits)).toBe(30 * 60_000)
  })

  test('a connection over which something came ends the back-off', () => {
    const addresses = book()
    addresses.add(at(1))
    const peer = next(addresses, 0)
    for (let failure = 0; failure < 5; failure++) addresses.disconnected(peer, 0, false)
    addresses.disconnected(peer, 0, true)
    expect(addresses.nextAt()).toBe(2000)
  })

  test('spreads the waits by a quarter each way', () => {
    for (const [random, wait] of [
      [0, 1500],
      [0.999_999, 2500],
    ] as const) {
      const addresses = book({ random: () => random })
      addresses.add(at(1))
      addresses.disconnected(next(addresses, 0), 0, false)
      expect(addresses.nextAt()).toBeCloseTo(wait, 0)
    }
  })

  test('waits as long as it is told', () => {
    const addresses = book()
    addresses.add(at(1))
    addresses.disconnected(next(addresses, 100), 100, true, 60_000)
    expect(addresses.nextAt()).toBe(60_100)
  })

  test('an address in a hurry is tried at once, unless it is connected or banned', () => {
    const addresses = book()
    addresses.add(at(1))
    const peer = next(addresses, 0)
    addresses.disconnected(peer, 0, false)
    addresses.hurry(at(1))
    expect(next(addresses, 0)).toBe(peer)
    addresses.connected(peer)
    addresses.hurry(at(1))
    expect(addresses.next(0)).toBeUndefined()
    addresses.ban(at(1), undefined)
    addresses.hurry(at(1))
    expect(addresses.next(0)).toBeUndefined()
    addresses.hurry(at(9))
    expect(addresses.size).toBe(1)
  })

  test('who is banned is not tried any more, not learnt again, and known under its peer id', () => {
    const addresses = book()
    addresses.add(at(1))
    const peer = next(addresses, 0)
    addresses.connected(peer)
    addresses.ban(at(1), peerId(7))
    addresses.disconnected(peer, 0, true)
    expect(addresses.next(1e9)).toBeUndefined()
    expect(addresses.nextAt()).toBeUndefined()
    expect(addresses.add(at(1))).toBe(false)
    // It came in from a port of its own; a neighbour behind the same NAT is somebody else.
    expect(addresses.isBanned(at(50_000), peerId(7))).toBe(true)
    expect(addresses.isBanned(at(50_000), peerId(8))).toBe(false)
    expect(addresses.isBanned(at(50_000, '10.0.0.2'), peerId(7))).toBe(false)
    expect(addresses.isBanned(at(1), peerId(8))).toBe(true)
  })

  test('who is banned before it was ever known is not learnt', () => {
    const addresses = book()
    addresses.ban(at(1), undefined)
    expect(addresses.add(at(1))).toBe(false)
    expect(addresses.size).toBe(0)
  })

  test('is fresh while somebody was not tried three times in vain', () => {
    const addresses = book()
    expect(addresses.hasFresh).toBe(false)
    addresses.add(at(1))
    const peer = next(addresses, 0)
    addresses.connected(peer)
    expect(addresses.hasFresh).toBe(false)
    addresses.disconnected(peer, 0, false)
    addresses.disconnected(peer, 0, false)
    expect(addresses.hasFresh).toBe(true)
    addresses.disconnected(peer, 0, false)
    expect(addresses.hasFresh).toBe(false)
  })

  test('tries those that are alike by their priority, and who failed less before all others', () => {
    const addresses = book()
    for (const port of [1, 3, 2]) addresses.add(at(port))
    addresses.prioritize(({ port }) => port)
    addresses.disconnected(next(addresses, 0), 0, false)
    expect(next(addresses, 1e9).address).toEqual(at(2))
    addresses.prioritize(({ port }) => -port)
    expect(next(addresses, 1e9).address).toEqual(at(1))
  })

  test('who was sent away comes back when it is of use again', () => {
    const addresses = book()
    addresses.add(at(1))
    addresses.disconnected(next(addresses, 0), 0, false, 1_000_000)
    expect(addresses.next(100_000)).toBeUndefined()
    addresses.hurryDeferred()
    expect(next(addresses, 0)).toMatchObject({ address: at(1), failures: 0 })
    addresses.disconnected(next(addresses, 0), 0, false)
    addresses.hurryDeferred()
    expect(addresses.next(0)).toBeUndefined()
  })
})
