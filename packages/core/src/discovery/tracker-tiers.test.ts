import { describe, expect, test } from 'vitest'
import { TrackerTiers } from './tracker-tiers.ts'

const refuseNone = (error: Error) => {
  throw error
}
const hosts = (tiers: TrackerTiers) => tiers.tiers.map((tier) => tier.map(({ url }) => url.host))

describe('the tiers of trackers', () => {
  test('keep the order of tiers and shuffle each', () => {
    const tiers = new TrackerTiers(10, () => 0)
    tiers.add(['http://a/', 'http://b/', 'http://c/'], refuseNone)
    tiers.add(['udp://d:1'], refuseNone)
    expect(hosts(tiers)).toEqual([['c', 'b', 'a'], ['d:1']])
  })

  test('are shuffled into every order', () => {
    const orders = new Set<string>()
    const draws = [0, 0.4, 0.99]
    for (const first of draws) {
      for (const second of draws) {
        const random = [first, second]
        const tiers = new TrackerTiers(10, () => random.shift() ?? 0)
        tiers.add(['http://a/', 'http://b/', 'http://c/'], refuseNone)
        orders.add(hosts(tiers).join())
      }
    }
    expect([...orders].sort()).toEqual(['a,b,c', 'a,c,b', 'b,a,c', 'b,c,a', 'c,a,b', 'c,b,a'])
  })

  test('move a tracker that answered to the front of its own', () => {
    const tiers = new TrackerTiers(10, () => 0.99)
    tiers.add(['http://a/'], refuseNone)
    tiers.add(['http://b/', 'http://c/', 'http://d/'], refuseNone)
    const third = tiers.tiers[1]?.[1]
    if (third !== undefined) tiers.promote(third)
    expect(hosts(tiers)).toEqual([['a'], ['c', 'b', 'd']])
  })

  test('leave out a URL that is there already, and what exceeds the limit', () => {
    const tiers = new TrackerTiers(3, () => 0.99)
    tiers.add(['http://a/', 'HTTP://A:80'], refuseNone)
    expect(tiers.add(['http://a'], refuseNone)).toEqual([])
    tiers.add(['http://b/', 'http://c/', 'http://d/'], refuseNone)
    expect(hosts(tiers)).toEqual([['a'], ['b', 'c']])
  })

  test('refuse what is no tracker of a kind that is known', () => {
    const refused: string[] = []
    const tiers = new TrackerTiers(3, () => 0)
    tiers.add(['wss://a/', 'a', '', 'file:///x', 'udp://b:1'], (error, url) => {
      expect(error).toMatchObject({ code: 'ISTHMUS_URL_INVALID' })
      refused.push(url)
    })
    expect(refused).toEqual(['wss://a/', 'a', '', 'file:///x'])
    expect(hosts(tiers)).toEqual([['b:1']])
  })
})
