/** One connected peer, as the choker sees it. Bytes and rates are those of blocks. */
export interface ChokeCandidate<P> {
  readonly peer: P
  /** Bytes per second that it sends us. */
  readonly downloadRate: number
  /** Bytes per second that it takes from us. */
  readonly uploadRate: number
  /** All bytes that it took from us. */
  readonly uploaded: number
  /** Since when it has sent nothing of what we wait for; undefined where we wait for nothing. */
  readonly silentSince?: number | undefined
}

/**
 * Whom a seeder prefers: everybody in turns, so long as to be of use, or who takes most, so that
 * bytes spread fastest.
 */
export type SeedingChoice = 'round-robin' | 'fastest-upload'

export interface ChokerOptions {
  /** How many are unchoked at most, the optimistic one among them. */
  readonly slots: number
  /** Time from one `round` to the next, in ms. What follows is counted in it. */
  readonly roundMs: number
  /** @defaultValue 'round-robin' */
  readonly seeding?: SeedingChoice | undefined
  /** Numbers from 0 up to 1. */
  readonly random: () => number
}

/** What changes. */
export interface ChokeChanges<P> {
  readonly choke: readonly P[]
  readonly unchoke: readonly P[]
}

interface Slot {
  readonly since: number
  /** What the peer had taken before. */
  readonly uploadedBefore: number
}

/** Rounds (of 10 s by default) that the optimistic slot stays with one peer. */
const OPTIMISTIC_ROUNDS = 3
/** Rounds of silence after which a peer counts as snubbing us: 60 s in BEP 3. */
const SNUB_ROUNDS = 6
/** A little less than a round, since timers are not exact: whoever got a slot keeps it that long. */
const LEAST_ROUNDS = 0.75
/** A turn ends, where others wait, after so many rounds once it brought enough, and after so many anyway. */
const TURN_ROUNDS = 6
const LONGEST_TURN_ROUNDS = 18
const TURN_BYTES = 16 * 1024 * 1024
/** How much likelier a peer that never had a slot becomes the optimistic one (BEP 3). */
const NEWCOMER_WEIGHT = 3

/**
 * Decides who is unchoked (BEP 3). Who sends us most gets the slots, and one more is for a peer that
 * may turn out better; who sends nothing, as every peer of a seeder does, takes turns. Pure: no
 * socket, clock or randomness of its own. `P` is any object that stands for a peer.
 */
export class Choker<P extends object> {
  readonly #options: ChokerOptions
  readonly #unchoked = new Map<P, Slot>()
  /** When it lost its slot, or was first seen without one. */
  readonly #waitingSince = new Map<P, number>()
  readonly #hadSlot = new WeakSet<P>()
  #optimistic: { readonly peer: P; readonly since: number } | undefined

  constructor(options: ChokerOptions) {
    this.#options = options
  }

  get hasFreeSlots(): boolean {
    return this.#unchoked.size < this.#options.slots
  }

  isUnchoked(peer: P): boolean {
    return this.#unchoked.has(peer)
  }

  /** It is gone, or wants nothing any more. @returns whether that freed a slot. */
  remove(peer: P): boolean {
    this.#waitingSince.delete(peer)
    if (this.#optimistic?.peer === peer) this.#optimistic = undefined
    return this.#unchoked.delete(peer)
  }

  /** Gives free slots to those who want one; nobody loses theirs. @returns who is unchoked now. */
  fill(interested: readonly ChokeCandidate<P>[], now: number): readonly P[] {
    this.#notice(interested, now)
    const order = this.#order(interested, now, false)
    const unchoke: P[] = []
    for (const candidate of order) {
      if (!this.hasFreeSlots) break
      if (this.#unchoked.has(candidate.peer)) continue
      this.#give(candidate, now)
      unchoke.push(candidate.peer)
    }
    return unchoke
  }

  /** The regular look at everybody who wants something. `seeding`: we have all that we want. */
  round(
    interested: readonly ChokeCandidate<P>[],
    now: number,
    { seeding }: { readonly seeding: boolean },
  ): ChokeChanges<P> {
    this.#notice(interested, now)
    const chosen = this.#chosen(interested, now, seeding)
    const choke = [...this.#unchoked.keys()].filter((peer) => !chosen.has(peer))
    for (const peer of choke) {
      this.#unchoked.delete(peer)
      this.#waitingSince.set(peer, now)
    }
    const unchoke: P[] = []
    for (const [peer, candidate] of chosen) {
      if (this.#unchoked.has(peer)) continue
      this.#give(candidate, now)
      unchoke.push(peer)
    }
    return { choke, unchoke }
  }

  #chosen(
    interested: readonly ChokeCandidate<P>[],
    now: number,
    seeding: boolean,
  ): Map<P, ChokeCandidate<P>> {
    const { slots } = this.#options
    const chosen = new Map<P, ChokeCandidate<P>>()
    if (interested.length <= slots) {
      this.#optimistic = undefined
      for (const candidate of interested) chosen.set(candidate.peer, candidate)
      return chosen
    }
    const optimistic = this.#currentOptimistic(now)
    for (const candidate of interested) {
      if (candidate.peer !== optimistic && this.#mustStay(candidate.peer, now)) {
        chosen.set(candidate.peer, candidate)
      }
    }
    // Turns find out about everybody by themselves.
    const takesTurns = seeding && this.#seedingChoice === 'round-robin'
    const regular = takesTurns ? slots : slots - 1
    for (const candidate of this.#order(interested, now, seeding)) {
      if (chosen.size >= regular) break
      chosen.set(candidate.peer, candidate)
    }
    if (chosen.size >= slots) return chosen
    const tried = this.#chooseOptimistic(interested, chosen, optimistic, now)
    if (tried !== undefined) chosen.set(tried.peer, tried)
    return chosen
  }

  /** Who it was, while its time is not over. */
  #currentOptimistic(now: number): P | undefined {
    const current = this.#optimistic
    if (current === undefined) return undefined
    // Timers are not exact.
    const longest = (OPTIMISTIC_ROUNDS - 1 + LEAST_ROUNDS) * this.#options.roundMs
    return now - current.since < longest ? current.peer : undefined
  }

  /** The one that stays, or another at random. */
  #chooseOptimistic(
    interested: readonly ChokeCandidate<P>[],
    chosen: ReadonlyMap<P, unknown>,
    current: P | undefined,
    now: number,
  ): ChokeCandidate<P> | undefined {
    const others = interested.filter(({ peer }) => !chosen.has(peer))
    const stays = others.find(({ peer }) => peer === current)
    if (stays !== undefined) return stays
    // It had its time: others first.
    const fresh = others.filter(({ peer }) => !this.#unchoked.has(peer))
    const drawn = this.#draw(fresh.length > 0 ? fresh : others)
    if (drawn !== undefined) this.#optimistic = { peer: drawn.peer, since: now }
    return drawn
  }

  #draw(candidates: readonly ChokeCandidate<P>[]): ChokeCandidate<P> | undefined {
    const weightOf = ({ peer }: ChokeCandidate<P>) =>
      this.#hadSlot.has(peer) ? 1 : NEWCOMER_WEIGHT
    const sum = candidates.reduce((total, candidate) => total + weightOf(candidate), 0)
    let left = this.#options.random() * sum
    return candidates.find((candidate) => {
      left -= weightOf(candidate)
      return left < 0
    })
  }

  #mustStay(peer: P, now: number): boolean {
    const slot = this.#unchoked.get(peer)
    return slot !== undefined && now - slot.since < LEAST_ROUNDS * this.#options.roundMs
  }

  /** Who deserves a slot most comes first. */
  #order(
    interested: readonly ChokeCandidate<P>[],
    now: number,
    seeding: boolean,
  ): ChokeCandidate<P>[] {
    const byUpload = seeding && this.#seedingChoice === 'fastest-upload'
    const ranked = interested.map((candidate) => ({
      candidate,
      snubs: !seeding && this.#snubs(candidate, now),
      rate: byUpload ? candidate.uploadRate : seeding ? 0 : candidate.downloadRate,
      turn: this.#turnOf(candidate, now),
    }))
    ranked.sort((a, b) => {
      if (a.snubs !== b.snubs) return a.snubs ? 1 : -1
      return b.rate - a.rate || a.turn.order - b.turn.order || a.turn.since - b.turn.since
    })
    return ranked.map(({ candidate }) => candidate)
  }

  /** Whose turn goes on comes first, then who waits longest, then whose turn is over. */
  #turnOf(candidate: ChokeCandidate<P>, now: number): { order: number; since: number } {
    const slot = this.#unchoked.get(candidate.peer)
    if (slot === undefined) {
      return { order: 1, since: this.#waitingSince.get(candidate.peer) ?? now }
    }
    const rounds = (now - slot.since) / this.#options.roundMs + (1 - LEAST_ROUNDS)
    const enough = candidate.uploaded - slot.uploadedBefore >= TURN_BYTES
    const over = rounds >= (enough ? TURN_ROUNDS : LONGEST_TURN_ROUNDS)
    return { order: over ? 2 : 0, since: slot.since }
  }

  #snubs({ silentSince }: ChokeCandidate<P>, now: number): boolean {
    return silentSince !== undefined && now - silentSince >= SNUB_ROUNDS * this.#options.roundMs
  }

  #give({ peer, uploaded }: ChokeCandidate<P>, now: number): void {
    this.#unchoked.set(peer, { since: now, uploadedBefore: uploaded })
    this.#waitingSince.delete(peer)
    this.#hadSlot.add(peer)
  }

  #notice(interested: readonly ChokeCandidate<P>[], now: number): void {
    for (const { peer } of interested) {
      if (this.#unchoked.has(peer) || this.#waitingSince.has(peer)) continue
      this.#waitingSince.set(peer, now)
    }
  }

  get #seedingChoice(): SeedingChoice {
    return this.#options.seeding ?? 'round-robin'
  }
}
