import type { AskedTwiceReason } from './swarm-report.ts'

interface Entry<P> {
  /** Who was asked and has not answered, and when the block was to be here. */
  readonly holders: Map<P, number>
  /** Why the last of them will not send it. */
  gone: AskedTwiceReason | undefined
  here: boolean
}

export interface LedgerEntry<P> {
  readonly piece: number
  readonly begin: number
  readonly peer: P
  readonly now: number
  /** In how many ms the block is expected of this peer. */
  readonly arrivalMs: number
}

/** A second one must be expected within this share of the time that the first still has. */
const CLEARLY_SOONER = 0.75
const UNEXPLAINED_AT_MOST = 10

/** Keeps count of what was asked of whom, and of why it was asked again; knows nothing of how the picker chooses. */
export class RequestLedger<P> {
  readonly reasons: Record<AskedTwiceReason, number> = {
    late: 0,
    sooner: 0,
    left: 0,
    refused: 0,
    choked: 0,
    snubbed: 0,
    unwanted: 0,
    failed: 0,
    unexplained: 0,
  }
  readonly unexplained: string[] = []
  readonly #pieces = new Map<number, Map<number, Entry<P>>>()

  asked(request: LedgerEntry<P>): void {
    const { piece, begin, peer, now, arrivalMs } = request
    const blocks = this.#pieces.get(piece) ?? new Map<number, Entry<P>>()
    this.#pieces.set(piece, blocks)
    const entry = blocks.get(begin) ?? { holders: new Map(), gone: undefined, here: false }
    if (blocks.has(begin)) this.#count(entry, request)
    blocks.set(begin, entry)
    entry.holders.set(peer, now + arrivalMs)
  }

  /** The peer will not send it. */
  freed(piece: number, begin: number, peer: P, why: AskedTwiceReason): void {
    const entry = this.#pieces.get(piece)?.get(begin)
    if (entry?.holders.delete(peer) === true && entry.holders.size === 0) entry.gone = why
  }

  received(piece: number, begin: number): void {
    const entry = this.#pieces.get(piece)?.get(begin)
    if (entry === undefined) return
    entry.here = true
    entry.holders.clear()
  }

  /** All of the piece begins anew. */
  reset(piece: number, why: AskedTwiceReason): void {
    for (const entry of this.#pieces.get(piece)?.values() ?? []) {
      entry.here = false
      entry.gone = why
      entry.holders.clear()
    }
  }

  #count(entry: Entry<P>, request: LedgerEntry<P>): void {
    const reason = reasonOf(entry, request)
    this.reasons[reason]++
    if (reason !== 'unexplained' || this.unexplained.length >= UNEXPLAINED_AT_MOST) return
    const { piece, begin, now, arrivalMs } = request
    const due = [...entry.holders.values()].map((at) => `${(at - now).toFixed(1)} ms`).join(', ')
    const state = entry.here ? 'here' : `due in ${due === '' ? 'never' : due}`
    const what = `piece ${piece} at ${begin}, ${state}, is asked again`
    this.unexplained.push(`${now.toFixed(1)} ms: ${what}, to come in ${arrivalMs.toFixed(1)} ms`)
  }
}

function reasonOf<P>(entry: Entry<P>, { peer, now, arrivalMs }: LedgerEntry<P>): AskedTwiceReason {
  if (entry.here || entry.holders.has(peer)) return 'unexplained'
  if (entry.holders.size === 0) return entry.gone ?? 'unexplained'
  const dueInMs = Math.min(...entry.holders.values()) - now
  if (dueInMs < 0) return 'late'
  return arrivalMs < CLEARLY_SOONER * dueInMs ? 'sooner' : 'unexplained'
}
