import { describe, expect, test } from 'vitest'
import { Admission, type Tenant } from './admission.ts'
import { ByteCapacity } from './byte-capacity.ts'

const settled = () => new Promise<void>((resolve) => setImmediate(resolve))

/** A torrent whose pieces are as far from its reader as the test says. */
class Torrent implements Tenant {
  readonly distances = new Map<number, number>()
  readonly evicted: number[] = []
  readonly admitted: number[] = []
  readonly #admission: Admission
  readonly #owner: number
  readonly #closing = new AbortController()

  constructor(admission: Admission, owner: number) {
    this.#admission = admission
    this.#owner = owner
  }

  distanceOf(piece: number): number | undefined {
    return this.distances.get(piece)
  }

  async evict(piece: number): Promise<void> {
    await Promise.resolve()
    this.evicted.push(piece)
    this.release(piece)
  }

  /** Asks for a place; the piece is being filled from then on, so it may not be evicted. */
  async ask(piece: number, distance: number, bytes = 10): Promise<boolean> {
    const place = { owner: this.#owner, tenant: this, piece, bytes, distance }
    this.#admission.request(place, this.#closing.signal, () => this.admitted.push(piece))
    await settled()
    return this.#admission.has(this.#owner, piece)
  }

  touch(piece: number): void {
    this.#admission.touch(this.#owner, piece)
  }

  release(piece: number): void {
    this.#admission.release(this.#owner, piece)
  }

  close(): void {
    this.#closing.abort()
  }
}

function setup(maxBytes = 30) {
  const capacity = new ByteCapacity(maxBytes)
  const admission = Admission.of(capacity)
  return { capacity, torrent: new Torrent(admission, 1), other: new Torrent(admission, 2) }
}

describe('Admission', () => {
  test('is one for all torrents of a capacity', () => {
    const capacity = new ByteCapacity(10)
    expect(Admission.of(capacity)).toBe(Admission.of(capacity))
    expect(Admission.of(new ByteCapacity(10))).not.toBe(Admission.of(capacity))
  })

  test('gives places until it is full, and tells of each once', async () => {
    const { torrent, capacity } = setup()
    for (const piece of [0, 1, 2]) expect(await torrent.ask(piece, 0)).toBe(true)
    expect(await torrent.ask(3, 0)).toBe(false)
    expect(torrent.admitted).toEqual([0, 1, 2])
    expect(capacity.reservedBytes).toBe(30)
  })

  test('asking again while one waits takes no second place', async () => {
    const { torrent, capacity } = setup(10)
    await torrent.ask(0, 0)
    for (let round = 0; round < 3; round++) await torrent.ask(1, 0)
    torrent.release(0)
    await settled()
    expect(torrent.admitted).toEqual([0, 1])
    torrent.release(1)
    await settled()
    expect(capacity.reservedBytes).toBe(0)
  })

  test('throws out what nobody needs, least recently used first', async () => {
    const { torrent } = setup()
    for (const piece of [0, 1, 2]) {
      await torrent.ask(piece, 0)
      torrent.distances.set(piece, Number.POSITIVE_INFINITY)
    }
    torrent.touch(0)
    expect(await torrent.ask(3, 5)).toBe(true)
    expect(torrent.evicted).toEqual([1])
  })

  test('then what is farther ahead of its reader, also in another torrent', async () => {
    const { torrent, other } = setup()
    await torrent.ask(0, 0)
    await torrent.ask(1, 1)
    await other.ask(9, 8)
    torrent.distances.set(0, 0).set(1, 1)
    other.distances.set(9, 8)
    expect(await torrent.ask(2, 2)).toBe(true)
    expect(other.evicted).toEqual([9])
    expect(await torrent.ask(3, 3)).toBe(false)
    expect(torrent.evicted).toEqual([])
  })

  test('nothing is thrown out for what is as far away', async () => {
    const { torrent, other } = setup(10)
    await torrent.ask(0, 4)
    torrent.distances.set(0, 4)
    expect(await other.ask(0, 4)).toBe(false)
    expect(torrent.evicted).toEqual([])
  })

  test('what is being filled is never thrown out', async () => {
    const { torrent } = setup(10)
    await torrent.ask(0, 100)
    expect(await torrent.ask(1, 0)).toBe(false)
    torrent.distances.set(0, 100)
    expect(await torrent.ask(1, 0)).toBe(true)
    expect(torrent.evicted).toEqual([0])
  })

  test('throws out as many as it takes and no more', async () => {
    const { torrent } = setup(50)
    for (const piece of [0, 1, 2, 3, 4]) {
      await torrent.ask(piece, 0)
      torrent.distances.set(piece, Number.POSITIVE_INFINITY)
    }
    expect(await torrent.ask(9, 0, 25)).toBe(true)
    expect(torrent.evicted).toEqual([0, 1, 2])
  })

  test('asking twice while room is being made throws out nothing more', async () => {
    const { torrent } = setup()
    for (const piece of [0, 1, 2]) {
      await torrent.ask(piece, 0)
      torrent.distances.set(piece, Number.POSITIVE_INFINITY)
    }
    const asked = [torrent.ask(3, 0), torrent.ask(3, 0), torrent.ask(3, 0)]
    await Promise.all(asked)
    expect(torrent.evicted).toEqual([0])
  })

  test('more than all of it gets its place alone', async () => {
    const { torrent, capacity } = setup()
    await torrent.ask(0, 0)
    expect(await torrent.ask(1, 0, 500)).toBe(false)
    torrent.release(0)
    await settled()
    expect(torrent.admitted).toEqual([0, 1])
    expect(capacity.reservedBytes).toBe(500)
    expect(await torrent.ask(2, 0)).toBe(false)
  })

  test('a torrent that closes while it waits leaves nothing behind', async () => {
    const { torrent, other, capacity } = setup(10)
    await other.ask(0, 0)
    await torrent.ask(0, 0)
    torrent.close()
    other.release(0)
    await settled()
    expect(torrent.admitted).toEqual([])
    expect(capacity.reservedBytes).toBe(0)
    // What it waited for is not held against others.
    other.distances.set(1, Number.POSITIVE_INFINITY)
    await other.ask(1, 0)
    expect(await other.ask(2, 0)).toBe(true)
    expect(other.evicted).toEqual([1])
  })
})
