import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { propertyOptions } from '../../../../test/support/property.ts'
import { type ChokeCandidate, Choker, type ChokerOptions } from './choker.ts'

interface Named {
  readonly name: string
}

const ROUND = 10_000

/** Peers that all want something, and what is known of each. */
class Crowd {
  readonly choker: Choker<Named>
  readonly candidates: ChokeCandidate<Named>[] = []
  now = 1_000_000

  constructor(options: Partial<ChokerOptions> = {}) {
    this.choker = new Choker({ slots: 3, roundMs: ROUND, random: () => 0, ...options })
  }

  add(name: string, more: Partial<ChokeCandidate<Named>> = {}): void {
    const peer = { name }
    this.candidates.push({ peer, downloadRate: 0, uploadRate: 0, uploaded: 0, ...more })
  }

  set(name: string, more: Partial<ChokeCandidate<Named>>): void {
    const index = this.candidates.findIndex(({ peer }) => peer.name === name)
    this.candidates[index] = { ...(this.candidates[index] as ChokeCandidate<Named>), ...more }
  }

  remove(name: string): void {
    const index = this.candidates.findIndex(({ peer }) => peer.name === name)
    const [gone] = this.candidates.splice(index, 1)
    if (gone !== undefined) this.choker.remove(gone.peer)
  }

  fill(): string[] {
    return this.choker.fill(this.candidates, this.now).map(({ name }) => name)
  }

  round(seeding = false): { choke: string[]; unchoke: string[] } {
    this.now += ROUND
    const { choke, unchoke } = this.choker.round(this.candidates, this.now, { seeding })
    return { choke: choke.map(({ name }) => name), unchoke: unchoke.map(({ name }) => name) }
  }

  get unchoked(): string[] {
    const all = this.candidates.filter(({ peer }) => this.choker.isUnchoked(peer))
    return all.map(({ peer }) => peer.name)
  }
}

describe('free slots', () => {
  test('are given away at once, and nobody loses one for it', () => {
    const crowd = new Crowd()
    crowd.add('a')
    expect(crowd.fill()).toEqual(['a'])
    crowd.add('b', { downloadRate: 1000 })
    crowd.add('c')
    crowd.add('d', { downloadRate: 5000 })
    expect(crowd.fill()).toEqual(['d', 'b'])
    expect(crowd.fill()).toEqual([])
    expect(crowd.unchoked).toEqual(['a', 'b', 'd'])
  })

  test('go to who waits longest where nobody sends us anything', () => {
    const crowd = new Crowd({ slots: 1 })
    crowd.add('a')
    crowd.fill()
    for (const name of ['b', 'c']) {
      crowd.add(name)
      crowd.now += 10
      crowd.fill()
    }
    crowd.candidates.reverse()
    crowd.remove('a')
    expect(crowd.fill()).toEqual(['b'])
  })

  test('are enough for everybody: nobody is choked', () => {
    const crowd = new Crowd()
    for (const name of ['a', 'b', 'c']) crowd.add(name, { silentSince: 0 })
    crowd.fill()
    for (let round = 0; round < 30; round++) {
      expect(crowd.round(round % 2 === 0)).toEqual({ choke: [], unchoke: [] })
    }
  })
})

describe('while downloading', () => {
  test('the slots but one are those of who sends us most', () => {
    const crowd = new Crowd()
    for (const [index, name] of ['a', 'b', 'c', 'd', 'e'].entries()) {
      crowd.add(name, { downloadRate: index * 1000 })
    }
    crowd.round()
    expect(crowd.unchoked).toEqual(expect.arrayContaining(['e', 'd']))
    expect(crowd.unchoked).toHaveLength(3)
  })

  test('the last one is somebody else every three rounds', () => {
    const crowd = new Crowd({ random: () => 0.999 })
    for (const name of ['best', 'second']) crowd.add(name, { downloadRate: 1000 })
    for (const name of ['x', 'y', 'z']) crowd.add(name)
    const tried: (string | undefined)[] = []
    for (let round = 0; round < 9; round++) {
      crowd.round()
      tried.push(crowd.unchoked.find((name) => !['best', 'second'].includes(name)))
    }
    expect(tried.slice(0, 3)).toEqual(Array(3).fill(tried[0]))
    expect(tried.slice(3, 6)).toEqual(Array(3).fill(tried[3]))
    expect(tried[3]).not.toBe(tried[0])
    expect(tried[6]).not.toBe(tried[3])
  })

  test('who turns out to be good as the optimistic one stays', () => {
    const crowd = new Crowd()
    for (const name of ['best', 'second']) crowd.add(name, { downloadRate: 1000 })
    for (const name of ['x', 'y', 'z']) crowd.add(name)
    crowd.round()
    const tried = crowd.unchoked.find((name) => !['best', 'second'].includes(name)) as string
    crowd.set(tried, { downloadRate: 9000 })
    crowd.set('second', { downloadRate: 10 })
    for (let round = 0; round < 12; round++) {
      crowd.round()
      expect(crowd.unchoked).toContain(tried)
    }
  })

  test('newcomers are three times as likely to be tried', () => {
    const draws = { old: 0, new: 0 }
    for (let draw = 0; draw < 400; draw++) {
      const crowd = new Crowd({ slots: 2, random: () => (draw + 0.5) / 400 })
      crowd.add('old')
      crowd.fill()
      crowd.add('best', { downloadRate: 1000 })
      crowd.add('other', { downloadRate: 900 })
      crowd.fill()
      crowd.add('new')
      // The old one has to leave its slot first, so that the draw is about both.
      crowd.choker.remove(crowd.candidates[0]?.peer as Named)
      crowd.choker.remove(crowd.candidates[2]?.peer as Named)
      crowd.candidates.splice(2, 1)
      crowd.round()
      if (crowd.unchoked.includes('old')) draws.old++
      if (crowd.unchoked.includes('new')) draws.new++
    }
    expect(draws).toEqual({ old: 100, new: 300 })
  })

  test('who was silent for a minute loses its slot to somebody who waits', () => {
    const crowd = new Crowd({ random: () => 0.999 })
    for (const name of ['snubs', 'b', 'c']) crowd.add(name, { downloadRate: 1 })
    crowd.fill()
    for (const name of ['d', 'e']) crowd.add(name)
    crowd.set('snubs', { silentSince: crowd.now, downloadRate: 5 })
    for (let round = 1; round < 6; round++) {
      crowd.round()
      expect(crowd.unchoked).toContain('snubs')
    }
    expect(crowd.round().choke).toContain('snubs')
  })

  test('who just got a slot keeps it for most of a round', () => {
    const crowd = new Crowd({ slots: 2 })
    crowd.add('a')
    crowd.add('b')
    crowd.fill()
    crowd.now += ROUND - 3000
    crowd.remove('a')
    crowd.add('late')
    crowd.fill()
    for (const name of ['x', 'y']) crowd.add(name, { downloadRate: 9000 })
    crowd.now += 3000 - ROUND
    crowd.round()
    expect(crowd.unchoked).toContain('late')
    crowd.round()
    expect(crowd.unchoked).toContain('x')
  })
})

describe('while seeding', () => {
  test('everybody has a turn, and turns are longer than a few rounds', () => {
    const crowd = new Crowd()
    const names = Array.from({ length: 9 }, (_, index) => `p${index}`)
    for (const name of names) crowd.add(name)
    crowd.fill()
    const served = new Map<string, number>()
    for (let round = 0; round < 18 * 3 + 3; round++) {
      crowd.round(true)
      for (const name of crowd.unchoked) served.set(name, (served.get(name) ?? 0) + 1)
    }
    expect([...served.keys()].sort()).toEqual(names)
    expect(Math.min(...served.values())).toBeGreaterThanOrEqual(17)
  })

  test('a turn that brought enough ends after six rounds, another one goes on', () => {
    const crowd = new Crowd({ slots: 2 })
    for (const name of ['fast', 'slow']) crowd.add(name)
    crowd.fill()
    crowd.add('waits')
    for (let round = 0; round < 5; round++) {
      crowd.set('fast', { uploaded: (round + 1) * 10_000_000, uploadRate: 1_000_000 })
      expect(crowd.round(true)).toEqual({ choke: [], unchoke: [] })
    }
    expect(crowd.round(true)).toEqual({ choke: ['fast'], unchoke: ['waits'] })
  })

  test('by the fastest upload, the slots but one are those of who takes most', () => {
    const crowd = new Crowd({ seeding: 'fastest-upload' })
    for (const [index, name] of ['a', 'b', 'c', 'd', 'e'].entries()) {
      crowd.add(name, { uploadRate: index * 1000, downloadRate: -index })
    }
    crowd.round(true)
    expect(crowd.unchoked).toEqual(expect.arrayContaining(['e', 'd']))
    expect(crowd.unchoked).toHaveLength(3)
  })
})

test('never more than the slots, never fewer than could be, and no change that is none', () => {
  const action = fc.record({
    kind: fc.constantFrom('add', 'add', 'remove', 'rates', 'fill', 'round'),
    at: fc.nat(30),
    rate: fc.nat(5),
    ms: fc.nat(15_000),
    seeding: fc.boolean(),
  })
  const options = propertyOptions('choker')
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 5 }),
      fc.constantFrom('round-robin' as const, 'fastest-upload' as const),
      fc.array(action, { maxLength: 40 }),
      (slots, seeding, actions) => {
        const crowd = new Crowd({ slots, seeding, random: () => 0.5 })
        const unchoked = new Set<string>()
        let next = 0
        for (const { kind, at, rate, ms, seeding } of actions) {
          crowd.now += ms
          const victim = crowd.candidates[at % Math.max(1, crowd.candidates.length)]?.peer.name
          if (kind === 'add') crowd.add(`p${next++}`)
          else if (kind === 'remove' && victim !== undefined) {
            crowd.remove(victim)
            unchoked.delete(victim)
          } else if (kind === 'rates' && victim !== undefined) {
            crowd.set(victim, { downloadRate: rate, uploadRate: rate, uploaded: rate * 1e7 })
          } else if (kind === 'fill' || kind === 'round') {
            const changes =
              kind === 'fill' ? { choke: [], unchoke: crowd.fill() } : crowd.round(seeding)
            for (const name of changes.choke) expect(unchoked.delete(name)).toBe(true)
            for (const name of changes.unchoke) {
              expect(unchoked.has(name)).toBe(false)
              unchoked.add(name)
            }
            expect(unchoked.size).toBe(Math.min(slots, crowd.candidates.length))
          }
          expect([...unchoked].sort()).toEqual([...crowd.unchoked].sort())
        }
      },
    ),
    { ...options, numRuns: Math.min(options.numRuns, 5000) },
  )
})
