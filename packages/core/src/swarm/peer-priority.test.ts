import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { AddressPolicy } from '../net/address-policy.ts'
import { OwnAddress } from './own-address.ts'
import type { Peer } from './peer.ts'
import { peerPriority } from './peer-priority.ts'
import { leastUseful } from './peer-turnover.ts'

const at = (host: string, port = 1) => ({ host, port })

describe('the priority of two peers', () => {
  test('is that of the examples of BEP 40', () => {
    expect(peerPriority(at('123.213.32.10'), at('98.76.54.32'))).toBe(0xec2d7224)
    expect(peerPriority(at('123.213.32.10'), at('123.213.32.234'))).toBe(0x99568189)
  })

  test('is the same from both ends', () => {
    const address = fc.record({
      host: fc.oneof(fc.ipV4(), fc.ipV6()),
      port: fc.integer({ min: 1, max: 65535 }),
    })
    fc.assert(
      fc.property(address, address, (a, b) => {
        expect(peerPriority(a, b)).toBe(peerPriority(b, a))
      }),
    )
  })

  test('does not depend on what the masks leave out, and does on what they leave', () => {
    const us = at('98.76.54.32')
    expect(peerPriority(us, at('1.2.3.4'))).toBe(peerPriority(us, at('1.2.1.6')))
    expect(peerPriority(us, at('1.2.3.4'))).not.toBe(peerPriority(us, at('1.2.2.4')))
    // Of the same /16, the third byte counts whole.
    expect(peerPriority(us, at('98.76.3.4'))).not.toBe(peerPriority(us, at('98.76.1.4')))
    expect(peerPriority(us, at('98.76.3.4'))).toBe(peerPriority(us, at('98.76.3.6')))
    const us6 = at('2600:1:2:3::1')
    expect(peerPriority(us6, at('2600:1:3:8::'))).toBe(peerPriority(us6, at('2600:1:3:a::')))
    expect(peerPriority(us6, at('2600:1:2:f00::'))).not.toBe(
      peerPriority(us6, at('2600:1:2:d00::')),
    )
  })

  test('is that of the ports where the hosts are one, and none between families', () => {
    expect(peerPriority(at('1.2.3.4', 5), at('1.2.3.4', 6))).not.toBe(
      peerPriority(at('1.2.3.4', 5), at('1.2.3.4', 7)),
    )
    expect(peerPriority(at('1.2.3.4'), at('2600::1'))).toBe(0)
  })
})

describe('our own address', () => {
  const open = () => new OwnAddress(new AddressPolicy())

  test('is what the machine says until three hosts agree on another one', () => {
    const own = open()
    expect(own.towards('8.8.8.8')).toBeUndefined()
    own.connectedFrom('10.0.0.2')
    for (const voter of ['8.8.1.1', '8.8.1.1', '8.8.1.1', '8.8.2.2']) own.vote(voter, '9.9.9.9')
    expect(own.towards('8.8.8.8')).toBe('10.0.0.2')
    own.vote('8.8.3.3', '9.9.9.9')
    expect(own.towards('8.8.8.8')).toBe('9.9.9.9')
    expect(own.towards('2600::1')).toBeUndefined()
  })

  test('is not what fewer than half say, and nothing that is not public', () => {
    const own = open()
    for (let i = 1; i <= 3; i++) own.vote(`8.8.1.${i}`, '9.9.9.9')
    for (let i = 1; i <= 3; i++) own.vote(`8.8.2.${i}`, '9.9.9.8')
    expect(own.towards('8.8.8.8')).toBeUndefined()
    const inner = open()
    for (let i = 1; i <= 3; i++) inner.vote(`8.8.1.${i}`, '192.168.1.1')
    for (let i = 1; i <= 3; i++) inner.vote(`10.0.0.${i}`, '9.9.9.9')
    expect(inner.towards('8.8.8.8')).toBeUndefined()
  })

  test('remembers no more than 64 voters', () => {
    const own = open()
    for (let i = 1; i <= 100; i++) own.vote(`8.8.1.${i}`, '9.9.9.9')
    for (let i = 1; i <= 64; i++) own.vote(`8.8.2.${i}`, '9.9.9.7')
    expect(own.towards('8.8.8.8')).toBe('9.9.9.7')
  })
})

describe('who may have to make room', () => {
  const peer = (more: { opened?: number; rate?: number; downloaded?: number; priority: number }) =>
    ({
      openedAt: more.opened ?? 0,
      uploadRate: { perSecond: () => more.rate ?? 0 },
      wire: { data: { downloaded: more.downloaded ?? 0 } },
      priority: more.priority,
    }) as unknown as Peer
  const choose = (peers: readonly Peer[], isComplete = false) =>
    leastUseful(peers, 100_000, {
      isComplete,
      priorityOf: (peer) => (peer as unknown as { priority: number }).priority,
    })?.priority

  test('is the one with the lowest priority of those that are idle', () => {
    const useful = [
      peer({ priority: 1, opened: 90_000 }),
      peer({ priority: 2, rate: 5 }),
      peer({ priority: 3, downloaded: 1 }),
    ]
    expect(choose(useful)).toBeUndefined()
    expect(choose([...useful, peer({ priority: 9 }), peer({ priority: 8 })])).toBe(8)
    expect(choose(useful, true)).toBe(3)
  })
})
