import { describe, expect, test } from 'vitest'
import type { Peer } from './peer.ts'
import { UploadSlots } from './upload-slots.ts'

/** As much of a peer as slots look at. */
class InterestedPeer {
  choked = true
  closed = false
  interested = true

  get wire() {
    return {
      closed: this.closed,
      control: { peerInterested: this.interested },
      setChoking: (choking: boolean) => {
        if (this.closed) throw new Error('a closed connection was told something')
        this.choked = choking
      },
    }
  }

  get asPeer(): Peer {
    return this as unknown as Peer
  }
}

function peers(count: number): InterestedPeer[] {
  return Array.from({ length: count }, () => new InterestedPeer())
}

const choked = (all: readonly InterestedPeer[]) => all.map((peer) => peer.choked)

describe('UploadSlots', () => {
  test('unchokes who is interested, in the order of asking, as many as there are slots', () => {
    const slots = new UploadSlots(2)
    const all = peers(3)
    for (const peer of all) slots.onInterest(peer.asPeer)
    expect(choked(all)).toEqual([false, false, true])
  })

  test('a place that is free goes to who waits longest', () => {
    const slots = new UploadSlots(1)
    const [first, second, third] = peers(3) as [InterestedPeer, InterestedPeer, InterestedPeer]
    for (const peer of [first, second, third]) slots.onInterest(peer.asPeer)
    first.interested = false
    slots.onInterest(first.asPeer)
    expect(choked([first, second, third])).toEqual([true, false, true])
    second.closed = true
    slots.remove(second.asPeer)
    expect(third.choked).toBe(false)
  })

  test('who waits and leaves, or loses interest, is passed over', () => {
    const slots = new UploadSlots(1)
    const [first, second, third] = peers(3) as [InterestedPeer, InterestedPeer, InterestedPeer]
    for (const peer of [first, second, third]) slots.onInterest(peer.asPeer)
    second.closed = true
    slots.remove(second.asPeer)
    slots.remove(first.asPeer)
    expect(choked([first, second, third])).toEqual([true, true, false])
  })

  test('saying it twice takes no second slot', () => {
    const slots = new UploadSlots(2)
    const [first, second] = peers(2) as [InterestedPeer, InterestedPeer]
    slots.onInterest(first.asPeer)
    slots.onInterest(first.asPeer)
    slots.onInterest(second.asPeer)
    expect(second.choked).toBe(false)
  })
})
