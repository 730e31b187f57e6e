import { IsthmusError, isIsthmusError } from '../errors.ts'
import type { Hasher } from '../hash/hasher.ts'
import type { Limits } from '../limits.ts'
import type { Layout } from '../metainfo/layout.ts'
import type { Metainfo } from '../metainfo/metainfo.ts'
import { Picker, type PieceWindow } from '../picker/picker.ts'
import type { PieceBlocks } from '../picker/piece-blocks.ts'
import type { AbortOptions } from '../signal.ts'
import { recyclePieceBuffer, takePieceBuffer } from '../storage/buffer-pool.ts'
import type { PieceCache } from '../storage/piece-cache.ts'
import { PieceStore, type PieceStoreHandler } from '../storage/piece-store.ts'
import type { PieceStorage } from '../storage/storage.ts'
import type { BlockProvider, BlockRequest } from '../wire/data-plane.ts'
import type { BlockSink } from '../wire/frames.ts'
import type { MemoryBudget } from './memory-budget.ts'
import type { Peer } from './peer.ts'
import { PieceSuspects } from './piece-suspects.ts'

/** What the swarm around a transfer is told. */
export interface TransferHandler {
  onVerified(piece: number): void
  onLost(piece: number): void
  /** The last missing piece came. */
  onComplete(): void
  /** This peer sent bytes that were wrong. */
  onLiar(peer: Peer): void
  /** Whether somebody else may still connect soon. */
  expectsPeers(): boolean
  onWarning(error: IsthmusError): void
}

export interface TransferOptions {
  readonly metainfo: Metainfo
  readonly storage: PieceStorage
  readonly hasher: Hasher
  readonly cache: PieceCache
  readonly budget: MemoryBudget
  readonly limits: Limits
  /** The connected peers. Not a copy: the swarm changes it. */
  readonly peers: ReadonlySet<Peer>
  readonly random: () => number
  readonly handler: TransferHandler
}

/** After the storage refused a piece, no piece is asked for so long. */
const STORAGE_PAUSE_MS = 5000

/** Looking for late blocks more often than this would find nothing new. */
const LATE_AT_LEAST_MS = 10

/**
 * Pieces of one torrent on their way: what to ask of whom, where the bytes go, what becomes of a piece
 * once it is whole.
 */
export class Transfer implements PieceStoreHandler, BlockProvider {
  readonly store: PieceStore
  readonly #options: TransferOptions
  readonly #picker: Picker<Peer>
  readonly #buffers = new Map<number, Uint8Array>()
  /** Pieces whose bytes count against the budget. */
  readonly #budgeted = new Set<number>()
  readonly #suspects = new PieceSuspects<Peer>()
  readonly #poisoned = new Map<number, IsthmusError>()
  readonly #fillLater = () => this.fillAll()
  readonly #reclaim = () => this.#reclaimAbandoned()
  readonly #hasPadding: boolean
  #filling = false
  #fillAgain = false
  #pausedUntil = 0
  #lateTimer: NodeJS.Timeout | undefined
  #fillSoon: NodeJS.Immediate | undefined
  #closed = false

  /** Rejects where the storage cannot say what it has. */
  static async open(options: TransferOptions, { signal }: AbortOptions = {}): Promise<Transfer> {
    let transfer: Transfer | undefined
    // The store speaks up only after it was opened, when there is a transfer to speak to.
    const handler: PieceStoreHandler = {
      distanceOf: (piece) => transfer?.distanceOf(piece) ?? Number.POSITIVE_INFINITY,
      isAwaited: (piece) => transfer?.isAwaited(piece) ?? false,
      isNeeded: (piece) => transfer?.isNeeded(piece) ?? false,
      onDropped: (piece) => transfer?.onDropped(piece),
      onVerified: (piece) => transfer?.onVerified(piece),
      onLost: (piece) => transfer?.onLost(piece),
      onAdmitted: () => transfer?.onAdmitted(),
      onWarning: (error) => options.handler.onWarning(error),
    }
    const { metainfo, storage, hasher, cache } = options
    const store = await PieceStore.open({ metainfo, storage, hasher, cache, handler }, { signal })
    transfer = new Transfer(options, store)
    return transfer
  }

  private constructor(options: TransferOptions, store: PieceStore) {
    this.#options = options
    this.store = store
    this.#hasPadding = store.layout.hasPadding
    this.#picker = new Picker<Peer>({
      layout: options.metainfo.layout,
      verified: store.available,
      mayStart: (piece) => this.#mayStart(piece),
      paceOf: (peer) => peer.pace,
      hedgeMs: options.limits.hedgeMs,
      random: options.random,
    })
    options.budget.join(this.#reclaim)
  }

  // Readers and downloads

  /** A reader needs these pieces, the first one first. */
  setWindow(reader: object, window: PieceWindow): void {
    const before = this.#picker.windowOf(reader)
    if (before?.start === window.start && before.end === window.end) return
    this.#picker.setWindow(reader, window)
    if (before !== undefined) this.#cancelUnwanted(before)
    this.#wantsChanged()
  }

  removeWindow(reader: object): void {
    const before = this.#picker.windowOf(reader)
    if (before === undefined) return
    this.#picker.removeWindow(reader)
    this.#cancelUnwanted(before)
  }

  /** These pieces are wanted although no reader waits for them. */
  want(pieces: PieceWindow): void {
    for (let piece = pieces.start; piece < pieces.end; piece++) this.#picker.want(piece)
    this.#wantsChanged()
  }

  unwant(pieces: PieceWindow): void {
    for (let piece = pieces.start; piece < pieces.end; piece++) this.#picker.unwant(piece)
    this.#cancelUnwanted(pieces)
  }

  /** Why the piece cannot be had from this swarm, where that is so. */
  poisonOf(piece: number): IsthmusError | undefined {
    return this.#poisoned.get(piece)
  }

  /** Somebody may come who has what all others had wrong: pieces that were given up are tried again. */
  forgive(): void {
    this.#poisoned.clear()
  }

  // Peers

  addPeer(peer: Peer): void {
    this.#picker.addPeer(peer)
    if (peer.pieces !== undefined) this.#picker.peerHasAll(peer, peer.pieces)
    this.forgive()
  }

  removePeer(peer: Peer): void {
    for (const piece of this.#picker.removePeer(peer)) this.#drop(piece)
    this.fillAll()
  }

  onPieces(peer: Peer, piece: number | undefined): void {
    if (peer.pieces === undefined) return
    if (piece === undefined) this.#picker.peerHasAll(peer, peer.pieces)
    else this.#picker.peerHas(peer, piece)
    this.#updateInterest(peer)
    this.fill(peer)
  }

  /** The peer has a piece no more: what it was asked of it is asked of others. */
  onPeerLost(peer: Peer, piece: number): void {
    this.#picker.peerLost(peer, piece)
    for (const block of peer.wire.data.requests()) {
      if (block.piece !== piece) continue
      peer.cancel(block)
      this.#picker.giveBack(peer, block)
    }
    this.fillAll()
  }

  /** Where a block that begins to arrive belongs. */
  onBlockStart(peer: Peer, block: BlockRequest): BlockSink | undefined {
    const { piece, begin, length } = block
    const blocks = this.#picker.blocksOf(piece)
    const index = begin >>> 14
    if (blocks === undefined || blocks.has(index)) return undefined
    // Two peers may send the same block at once: only one of them writes in place.
    const scratch = blocks.askedFrom(index).length > 1
    peer.sink = scratch
      ? { target: new Uint8Array(length), offset: 0, block, scratch }
      : { target: this.#bufferOf(piece), offset: begin, block, scratch }
    return peer.sink
  }

  onBlock(peer: Peer, block: BlockRequest): void {
    const { sink } = peer
    if (sink?.target === undefined) return this.#picker.giveBack(peer, block)
    if (sink.scratch) this.#bufferOf(block.piece).set(sink.target, block.begin)
    const outcome = this.#picker.received(peer, block)
    for (const other of outcome?.cancel ?? []) other.cancel(block)
    if (outcome?.complete) void this.#complete(block.piece)
  }

  onReject(peer: Peer, block: BlockRequest): void {
    // Others may have had nothing to do.
    this.#fillSoon ??= setImmediate(() => {
      this.#fillSoon = undefined
      this.fillAll()
    })
    // Who chokes us rejects everything; who does not would reject it again and again.
    if (peer.wire.control.peerChoking) this.#picker.giveBack(peer, block)
    else this.#picker.refused(peer, block, performance.now())
  }

  /** Nothing came of what this peer was asked for: others get it. */
  takeBack(peer: Peer): void {
    for (const block of peer.wire.data.requests()) {
      peer.cancel(block)
      this.#picker.giveBack(peer, block)
    }
    for (const piece of this.#picker.releaseSource(peer)) this.#drop(piece)
    this.fillAll()
  }

  /** Asks the peer for as much as it has room for. */
  fill(peer: Peer): void {
    this.#fillEach([peer])
  }

  fillAll(): void {
    this.#fillEach(this.#options.peers)
  }

  // What peers ask for

  pieceRange(piece: number) {
    return this.store.available.has(piece) ? this.store.layout.pieceRange(piece) : undefined
  }

  read(span: { start: number; end: number }): Promise<Uint8Array> {
    return this.store.read(span)
  }

  // What the store tells

  distanceOf(piece: number): number {
    const distance = this.#picker.distanceOf(piece)
    // What a download wants gives way to every reader, but to nothing else.
    return this.#picker.isWanted(piece) ? Math.min(distance, Number.MAX_SAFE_INTEGER) : distance
  }

  isAwaited(piece: number): boolean {
    return this.#picker.isInWindow(piece)
  }

  isNeeded(piece: number): boolean {
    return this.#picker.isWanted(piece)
  }

  onDropped(piece: number): void {
    this.#drop(piece)
  }

  onVerified(piece: number): void {
    this.#picker.finished(piece)
    this.#options.handler.onVerified(piece)
    if (this.store.isComplete) this.#options.handler.onComplete()
  }

  onLost(piece: number): void {
    this.#picker.dropped(piece)
    this.#options.handler.onLost(piece)
    if (this.#picker.isWanted(piece)) this.#wantsChanged()
  }

  onAdmitted(): void {
    this.fillAll()
  }

  onWarning(error: IsthmusError): void {
    this.#options.handler.onWarning(error)
  }

  /** Gives up all that is under way; waits for what is being stored. */
  async close(options: { destroy?: boolean } = {}): Promise<void> {
    this.#closed = true
    clearTimeout(this.#lateTimer)
    clearImmediate(this.#fillSoon)
    this.#options.budget.leave(this.#reclaim, this.#fillLater)
    for (const piece of this.#picker.startedPieces) {
      if (this.#picker.blocksOf(piece)?.isComplete === false) this.#drop(piece)
    }
    await this.store.close(options)
  }

  #fillEach(peers: Iterable<Peer>): void {
    // Asking can free memory, which asks again: only once this round is through.
    if (this.#filling) {
      this.#fillAgain = true
      return
    }
    this.#filling = true
    try {
      for (const peer of peers) this.#fill(peer)
    } finally {
      this.#filling = false
    }
    if (!this.#fillAgain) return
    this.#fillAgain = false
    this.fillAll()
  }

  #fill(peer: Peer): void {
    if (this.#closed || peer.pieces === undefined) return
    const { room } = peer
    if (room <= 0) return
    const now = performance.now()
    if (now < this.#pausedUntil) return
    const picked = this.#picker.pick(peer, room, now)
    for (const block of picked) peer.request(block, now)
    if (picked.length < room && this.#options.peers.size > 1) this.#fillWhenLate(now)
  }

  /** Peers with nothing to do help out as soon as others are late. */
  #fillWhenLate(now: number): void {
    if (this.#lateTimer !== undefined) return
    const at = this.#picker.nextLateAt(now)
    if (at === Number.POSITIVE_INFINITY) return
    this.#lateTimer = setTimeout(
      () => {
        this.#lateTimer = undefined
        this.fillAll()
      },
      Math.max(LATE_AT_LEAST_MS, at - now),
    )
    this.#lateTimer.unref()
  }

  #mayStart(piece: number): boolean {
    if (this.#poisoned.has(piece) || !this.store.mayStart(piece)) return false
    if (this.#budgeted.has(piece)) return true
    const bytes = this.store.layout.pieceSize(piece)
    if (!this.#options.budget.take(bytes, this.#fillLater)) return false
    this.#budgeted.add(piece)
    return true
  }

  #bufferOf(piece: number): Uint8Array {
    let buffer = this.#buffers.get(piece)
    if (buffer === undefined) {
      buffer = takePieceBuffer(this.store.layout.pieceSize(piece))
      this.#buffers.set(piece, buffer)
    }
    return buffer
  }

  async #complete(piece: number): Promise<void> {
    const bytes = this.#bufferOf(piece)
    const blocks = this.#picker.blocksOf(piece)
    this.#buffers.delete(piece)
    if (this.#hasPadding) zeroPadding(this.store.layout, piece, bytes)
    // They are the storage's once they were accepted, and only a suspect's are looked at again.
    const copy = this.#suspects.isSuspect(piece) ? bytes.slice() : undefined
    try {
      if (!(await this.store.accept(piece, bytes))) {
        this.#failed(piece, blocks, bytes)
      } else if (copy !== undefined) {
        for (const liar of this.#suspects.resolved(piece, copy)) this.#options.handler.onLiar(liar)
      }
    } catch (error) {
      this.#storageRefused(piece, error)
    } finally {
      this.#giveBudget(piece)
      // Nobody needs it any more: its place can be had for what somebody needs.
      if (!this.#picker.isWanted(piece)) this.fillAll()
    }
  }

  #failed(piece: number, blocks: PieceBlocks<Peer> | undefined, bytes: Uint8Array): void {
    const liar = blocks && this.#suspects.failed(blocks, bytes)
    recyclePieceBuffer(bytes)
    this.#picker.failed(piece)
    const failures = this.#suspects.failures(piece)
    const message = `piece ${piece} failed its hash ${failures} times`
    const poison = new IsthmusError('ISTHMUS_SWARM_POISONED', message)
    this.#options.handler.onWarning(poison)
    if (liar !== undefined) this.#options.handler.onLiar(liar)
    const nobodyLeft = this.#options.peers.size === 0 && !this.#options.handler.expectsPeers()
    const hopeless = liar !== undefined && nobodyLeft ? this.#suspects.pieces : []
    const poisoned = failures >= this.#options.limits.pieceFailures ? [piece] : hopeless
    for (const one of poisoned) {
      this.#poisoned.set(one, poison)
      this.#options.handler.onLost(one)
    }
    this.fillAll()
  }

  #storageRefused(piece: number, error: unknown): void {
    this.#picker.dropped(piece)
    if (this.#closed) return
    this.#pausedUntil = performance.now() + STORAGE_PAUSE_MS
    this.#options.handler.onWarning(
      isIsthmusError(error)
        ? error
        : new IsthmusError('ISTHMUS_STORAGE_FAILED', 'a piece was not stored', { cause: error }),
    )
  }

  #wantsChanged(): void {
    this.store.want(this.#picker.urgent(WANTED_AT_A_TIME))
    for (const peer of this.#options.peers) this.#updateInterest(peer)
    this.fillAll()
  }

  /** Sticky: a peer that we were interested in stays so, since some punish whose interest flaps. */
  #updateInterest(peer: Peer): void {
    if (peer.pieces === undefined || peer.wire.control.amInterested) return
    if (this.#picker.isInteresting(peer)) peer.wire.control.interested()
  }

  /** What was asked for a window that has moved on is taken back at once. */
  #cancelUnwanted(before: PieceWindow): void {
    const unwanted = new Set<number>()
    for (let piece = before.start; piece < before.end; piece++) {
      if (this.store.available.has(piece) || this.#picker.isWanted(piece)) continue
      if (this.#picker.blocksOf(piece) === undefined) this.store.abandon(piece)
      else unwanted.add(piece)
    }
    if (unwanted.size === 0) return
    for (const peer of this.#options.peers) {
      for (const block of peer.wire.data.requests()) {
        if (!unwanted.has(block.piece)) continue
        peer.cancel(block)
        this.#picker.giveBack(peer, block)
      }
    }
    this.fillAll()
  }

  #reclaimAbandoned(): void {
    for (const piece of this.#picker.startedPieces) {
      if (this.#picker.isWanted(piece)) continue
      if (this.#picker.blocksOf(piece)?.isComplete === false) this.#drop(piece)
    }
  }

  /** Throws away what came of a piece. */
  #drop(piece: number): void {
    for (const peer of this.#options.peers) {
      peer.dropSink(piece)
      for (const block of peer.wire.data.requests()) if (block.piece === piece) peer.cancel(block)
    }
    const bytes = this.#buffers.get(piece)
    this.#buffers.delete(piece)
    if (bytes !== undefined) recyclePieceBuffer(bytes)
    this.#picker.dropped(piece)
    this.#giveBudget(piece)
  }

  #giveBudget(piece: number): void {
    if (!this.#budgeted.delete(piece)) return
    this.#options.budget.give(this.store.layout.pieceSize(piece))
  }
}

// What a storage may prepare for; more would be guessing.
const WANTED_AT_A_TIME = 64

/** Storages keep no padding: it is zeros (BEP 47), whatever a peer sends and a torrent's hashes say. */
function zeroPadding(layout: Layout, piece: number, bytes: Uint8Array): void {
  const whole = layout.pieceRange(piece)
  for (const { file, range } of layout.filesOf(whole)) {
    if (file === -1) bytes.fill(0, range.start - whole.start, range.end - whole.start)
  }
}
