import type { Bitfield } from '../metainfo/bitfield.ts'
import { encodeDontHave } from '../wire/lt-donthave.ts'
import type { Peer } from './peer.ts'

export const DONT_HAVE = 'lt_donthave'
export const UPLOAD_ONLY = 'upload_only'

/** Keeps peers informed of what we have, what is gone again (BEP 54), and whether we want anything (BEP 21). */
export class PieceNotices {
  readonly #peers: Iterable<Peer>
  /** What peers believe that we have. */
  #told: Bitfield | undefined
  #uploadOnly = false

  /** @param peers - the connected ones. Not a copy: the swarm changes it. */
  constructor(peers: Iterable<Peer>) {
    this.#peers = peers
  }

  /** Peers were told that we have nothing, when that was all we knew. */
  start(available: Bitfield): void {
    this.#told = available.copy()
    const pieces = [...setBits(available)]
    for (const peer of this.#peers) for (const piece of pieces) peer.wire.control.have(piece)
  }

  /** A piece came: everybody who may want it is told. */
  gained(piece: number): void {
    this.#told?.set(piece)
    for (const peer of this.#peers) {
      if (peer.pieces?.has(piece) !== true) peer.wire.control.have(piece)
    }
  }

  /** A piece is gone: who would ask for it in vain is told, where it understands. @returns whether we had it. */
  lost(piece: number): boolean {
    if (this.#told?.clear(piece) !== true) return false
    const payload = encodeDontHave(piece)
    for (const peer of this.#peers) peer.wire.control.sendExtension(DONT_HAVE, payload)
    return true
  }

  /** Whether we want nothing of anybody. */
  setUploadOnly(uploadOnly: boolean): void {
    if (this.#uploadOnly === uploadOnly) return
    this.#uploadOnly = uploadOnly
    const payload = Uint8Array.of(uploadOnly ? 1 : 0)
    for (const peer of this.#peers) peer.wire.control.sendExtension(UPLOAD_ONLY, payload)
  }
}

function* setBits(bits: Bitfield) {
  for (let index = 0; index < bits.length; index++) if (bits.has(index)) yield index
}
