import { describe, expect, onTestFinished, test, vi } from 'vitest'
import type { Peer } from './peer.ts'
import { UploadSlots } from './upload-slots.ts'

/** As much of a peer as slots look at. */
class InterestedPeer {
  choked = true
  closed = false
  interested = true
  uploaded = 0
  silentSince: number | undefined
  readonly downloadRate = { perSecond: () => 0 }
  readonly uploadRate = { perSecond: () => 0 }

  get wire() {
    return {
      closed: this.closed,
      control: { peerInterested: this.interested },
      data: { uploaded: this.uploaded },
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

const ROUND_MS = 10_000

function openSlots(count: number): UploadSlots {
  const slots = new UploadSlots({
    slots: count,
    roundMs: ROUND_MS,
    random: () => 0,
    isSeeding: () => true,
  })
  onTestFinished(() => slots.close())
  return slots
}

const choked = (all: readonly InterestedPeer[]) => all.map((peer) => peer.choked)

describe('UploadSlots', () => {
  test('unchokes who is interested, in the order of asking, as many as there are slots', () => {
    const slots = openSlots(2)
    const all = peers(3)
    for (const peer of all) slots.onInterest(peer.asPeer)
    expect(choked(all)).toEqual([false, false, true])
  })

  test('a place that is free goes to who waits longest', () => {
    const slots = openSlots(1)
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
    const slots = openSlots(1)
    const [first, second, third] = peers(3) as [InterestedPeer, InterestedPeer, InterestedPeer]
    for (const peer of [first, second, third]) slots.onInterest(peer.asPeer)
    second.closed = true
    slots.remove(second.asPeer)
    slots.remove(first.asPeer)
    expect(choked([first, second, third])).toEqual([true, true, false])
  })

  test('saying it twice takes no second slot', () => {
    const slots = openSlots(2)
    const [first, second] = peers(2) as [InterestedPeer, InterestedPeer]
    slots.onInterest(first.asPeer)
    slots.onInterest(first.asPeer)
    slots.onInterest(second.asPeer)
    expect(second.choked).toBe(false)
  })

  test('who waits gets the slot of who had it for long, as rounds go by', () => {
    vi.useFakeTimers()
    onTestFinished(() => void vi.useRealTimers())
    const slots = openSlots(1)
    const [first, second] = peers(2) as [InterestedPeer, InterestedPeer]
    slots.onInterest(first.asPeer)
    slots.onInterest(second.asPeer)
    first.uploaded = 100_000_000
    vi.advanceTimersByTime(5 * ROUND_MS)
    expect(choked([first, second])).toEqual([false, true])
    vi.advanceTimersByTime(ROUND_MS)
    expect(choked([first, second])).toEqual([true, false])
  })

  test('without anybody interested there is no timer', () => {
    vi.useFakeTimers()
    onTestFinished(() => void vi.useRealTimers())
    const slots = openSlots(1)
    const [peer] = peers(1) as [InterestedPeer]
    slots.onInterest(peer.asPeer)
    expect(vi.getTimerCount()).toBe(1)
    peer.interested = false
    slots.onInterest(peer.asPeer)
    expect(vi.getTimerCount()).toBe(0)
  })
})
