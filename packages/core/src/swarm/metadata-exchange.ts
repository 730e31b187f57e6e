import { IsthmusError } from '../errors.ts'
import type { Limits } from '../limits.ts'
import { protocolError } from '../wire/frames.ts'
import {
  decodeMetadataMessage,
  encodeMetadataData,
  encodeMetadataReject,
  encodeMetadataRequest,
  METADATA_PIECE_LENGTH,
  metadataPieceCount,
} from '../wire/ut-metadata.ts'
import type { Peer } from './peer.ts'

export interface MetadataExchangeOptions {
  readonly limits: Limits
  /** Whether these bytes are the info dictionary; from then on they are served. */
  readonly accept: (info: Uint8Array) => boolean
}

interface Fetch {
  readonly size: number
  readonly pieces: (Uint8Array | undefined)[]
  missing: number
  next: number
  /** When something came of it (`performance.now()`). */
  progressAt: number
}

const NAME = 'ut_metadata'
const FETCHES_AT_A_TIME = 3
const REQUESTS_AT_A_TIME = 16

/**
 * The info dictionary, both ways (BEP 9). It is fetched whole from one peer, from a few at a time, so
 * that who sent a wrong one is known; what was claimed costs nothing, what came is bounded.
 */
export class MetadataExchange {
  readonly #options: MetadataExchangeOptions
  readonly #fetches = new Map<Peer, Fetch>()
  readonly #candidates = new Set<Peer>()
  #info: Uint8Array | undefined

  constructor(options: MetadataExchangeOptions) {
    this.#options = options
  }

  /** It is known from elsewhere. */
  provide(info: Uint8Array): void {
    this.#info = info
    this.#fetches.clear()
    this.#candidates.clear()
  }

  /** The peer told its extensions. */
  onExtendedHandshake(peer: Peer): void {
    const size = peer.extended?.metadataSize
    if (this.#info !== undefined || size === undefined || !peer.wire.control.speaks(NAME)) return
    if (size > this.#options.limits.metainfoBytes) return
    this.#candidates.add(peer)
    this.#start()
  }

  removePeer(peer: Peer): void {
    this.#candidates.delete(peer)
    if (this.#fetches.delete(peer)) this.#start()
  }

  /** Who sent nothing since then (`performance.now()`) makes room for others, and comes after them. */
  checkProgress(since: number): void {
    for (const [peer, { progressAt }] of [...this.#fetches]) {
      if (progressAt >= since) continue
      this.#fetches.delete(peer)
      this.#candidates.delete(peer)
      this.#candidates.add(peer)
    }
    this.#start()
  }

  /** Throws `ISTHMUS_WIRE_PROTOCOL` where the peer breaks BEP 9 or sends a wrong dictionary. */
  onMessage(peer: Peer, payload: Uint8Array): void {
    const message = decodeMetadataMessage(payload)
    switch (message?.type) {
      case 'request':
        return this.#answer(peer, message.piece)
      case 'data':
        return this.#onData(peer, message.piece, message.totalSize, message.data)
      case 'reject':
        // It may have lost it, or not have it yet; another peer is asked.
        return this.removePeer(peer)
    }
  }

  #start(): void {
    for (const peer of this.#candidates) {
      if (this.#fetches.size >= FETCHES_AT_A_TIME) return
      if (this.#fetches.has(peer)) continue
      const size = peer.extended?.metadataSize ?? 0
      const count = metadataPieceCount(size)
      const progressAt = performance.now()
      const fetch: Fetch = { size, pieces: new Array(count), missing: count, next: 0, progressAt }
      this.#fetches.set(peer, fetch)
      this.#ask(peer, fetch)
    }
  }

  #ask(peer: Peer, fetch: Fetch): void {
    const received = fetch.pieces.length - fetch.missing
    while (fetch.next < fetch.pieces.length && fetch.next - received < REQUESTS_AT_A_TIME) {
      peer.wire.control.sendExtension(NAME, encodeMetadataRequest(fetch.next++))
    }
  }

  #onData(peer: Peer, piece: number, totalSize: number, data: Uint8Array): void {
    const fetch = this.#fetches.get(peer)
    if (fetch === undefined) return
    const length = Math.min(METADATA_PIECE_LENGTH, fetch.size - piece * METADATA_PIECE_LENGTH)
    if (totalSize !== fetch.size || piece >= fetch.pieces.length || data.length !== length) {
      throw protocolError('a metadata piece that does not fit')
    }
    if (fetch.pieces[piece] !== undefined) return
    fetch.pieces[piece] = new Uint8Array(data)
    fetch.missing--
    fetch.progressAt = performance.now()
    if (fetch.missing > 0) return this.#ask(peer, fetch)
    this.#fetches.delete(peer)
    this.#candidates.delete(peer)
    const info = Buffer.concat(fetch.pieces.filter((bytes) => bytes !== undefined))
    if (this.#options.accept(info)) return this.provide(info)
    this.#start()
    throw new IsthmusError('ISTHMUS_WIRE_PROTOCOL', 'the peer sent metadata of another torrent')
  }

  #answer(peer: Peer, piece: number): void {
    const info = this.#info
    const known = info !== undefined && piece < metadataPieceCount(info.length)
    // Who asks faster than it reads is refused, not buffered for.
    const flooded = peer.wire.pendingBytes > this.#options.limits.peerSendBytes
    const answer = known && !flooded ? encodeMetadataData(piece, info) : encodeMetadataReject(piece)
    peer.wire.control.sendExtension(NAME, answer)
  }
}
