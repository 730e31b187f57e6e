import type { StorageCapacity } from './storage.ts'

/** What {@link Admission} asks and tells the torrent that a piece belongs to. */
export interface Tenant {
  /**
   * How far the piece is ahead of the nearest reader, in pieces; Infinity where nobody needs it. Only
   * what is here and verified may be evicted: undefined for anything else.
   */
  distanceOf(piece: number): number | undefined
  /** Throws the piece away. Its place is given back when this resolves. */
  evict(piece: number): Promise<void>
}

interface Resident {
  readonly tenant: Tenant
  readonly piece: number
  readonly bytes: number
  readonly place: Disposable
}

/**
 * Places in a storage with a capacity, shared by all torrents in it. Room is made by throwing out what
 * nobody needs, least recently used first, then what is farther ahead of its reader than what is asked
 * for is of its own.
 */
export class Admission {
  readonly #capacity: StorageCapacity
  /** In order of use. */
  readonly #residents = new Map<string, Resident>()
  readonly #waiting = new Map<string, number>()
  /** Being thrown out; their places are free once that is done. */
  readonly #leaving = new Set<Resident>()
  #heldBytes = 0

  static readonly #all = new WeakMap<StorageCapacity, Admission>()

  /** The one for this capacity. */
  static of(capacity: StorageCapacity): Admission {
    let admission = Admission.#all.get(capacity)
    if (admission === undefined) {
      admission = new Admission(capacity)
      Admission.#all.set(capacity, admission)
    }
    return admission
  }

  private constructor(capacity: StorageCapacity) {
    this.#capacity = capacity
  }

  get maxBytes(): number {
    return this.#capacity.maxBytes
  }

  has(owner: number, piece: number): boolean {
    return this.#residents.has(keyOf(owner, piece))
  }

  /** The piece was used: it is thrown out later. */
  touch(owner: number, piece: number): void {
    const key = keyOf(owner, piece)
    const resident = this.#residents.get(key)
    if (resident === undefined) return
    this.#residents.delete(key)
    this.#residents.set(key, resident)
  }

  /**
   * Asks for a place. `admitted` is called once there is one, unless `signal` aborts before; asking
   * again meanwhile only tries once more to make room.
   */
  request(
    place: { owner: number; tenant: Tenant; piece: number; bytes: number; distance: number },
    signal: AbortSignal,
    admitted: () => void,
  ): void {
    const key = keyOf(place.owner, place.piece)
    const asked = this.#waiting.has(key)
    this.#waiting.set(key, place.bytes)
    this.#makeRoom(place.distance)
    if (asked) return
    this.#capacity.reserve(place.bytes, { signal }).then(
      (disposable) => {
        this.#waiting.delete(key)
        if (signal.aborted) return disposable[Symbol.dispose]()
        this.#heldBytes += place.bytes
        const { tenant, piece, bytes } = place
        this.#residents.set(key, { tenant, piece, bytes, place: disposable })
        admitted()
      },
      () => this.#waiting.delete(key),
    )
  }

  /** The piece is gone, or never came: its place is free. */
  release(owner: number, piece: number): void {
    const key = keyOf(owner, piece)
    const resident = this.#residents.get(key)
    if (resident === undefined) return
    this.#residents.delete(key)
    this.#heldBytes -= resident.bytes
    resident.place[Symbol.dispose]()
  }

  #makeRoom(distance: number): void {
    let excess = this.#heldBytes - this.#capacity.maxBytes
    for (const bytes of this.#waiting.values()) excess += bytes
    for (const { bytes } of this.#leaving) excess -= bytes
    while (excess > 0) {
      const victim = this.#victim(distance)
      if (victim === undefined) return
      const [key, resident] = victim
      excess -= resident.bytes
      // Wanted again while it goes, it needs a place of its own.
      this.#residents.delete(key)
      this.#leaving.add(resident)
      void resident.tenant.evict(resident.piece).finally(() => {
        this.#leaving.delete(resident)
        this.#heldBytes -= resident.bytes
        resident.place[Symbol.dispose]()
      })
    }
  }

  /** The farthest of all; among equals the least recently used. */
  #victim(distance: number): [string, Resident] | undefined {
    let farthest = distance
    let victim: [string, Resident] | undefined
    for (const entry of this.#residents) {
      const [, { tenant, piece }] = entry
      const far = tenant.distanceOf(piece)
      if (far === undefined || far <= farthest) continue
      if (far === Number.POSITIVE_INFINITY) return entry
      farthest = far
      victim = entry
    }
    return victim
  }
}

function keyOf(owner: number, piece: number): string {
  return `${owner}/${piece}`
}
