import type { ByteRange } from './byte-source.ts'
import type { PeerAddress } from './discovery/discovery.ts'
import { IsthmusError, isIsthmusError } from './errors.ts'
import type { InfoHash, InfoHashV2, TorrentId } from './metainfo/info-hash.ts'
import { primaryInfoHash } from './metainfo/info-hash.ts'
import type { Layout } from './metainfo/layout.ts'
import { type Metainfo, metainfoFromInfo, parseMetainfo } from './metainfo/metainfo.ts'
import { fetchBytes } from './net/fetch-bytes.ts'
import { parsePeerAddress } from './net/peer-address.ts'
import { PieceArrivals } from './reader/piece-arrivals.ts'
import type { ReaderSource } from './reader/reader.ts'
import { TorrentFile } from './reader/torrent-file.ts'
import { type AbortOptions, abortable } from './signal.ts'
import type { Storage } from './storage/storage.ts'
import type { Peer, PeerHandler } from './swarm/peer.ts'
import { type Rates, SharedRates } from './swarm/rates.ts'
import { Swarm } from './swarm/swarm.ts'
import { Transfer } from './swarm/transfer.ts'
import type { TorrentContext } from './torrent-context.ts'
import { TorrentSources } from './torrent-sources.ts'
import { typedEventEmitter } from './typed-event-emitter.ts'
import type { Handshake } from './wire/handshake.ts'

/** What a {@link Torrent} tells: past facts, after which nothing is asked of a listener. */
export type TorrentEvents = {
  /** Metadata is known and the storage is open. */
  ready: () => void
  /** The piece was checked and can be read. */
  verified: (piece: number) => void
  /** Every piece is there. */
  done: () => void
  /** A peer connected. */
  peer: (address: PeerAddress) => void
  /** Something went wrong that the torrent survives. */
  warning: (error: IsthmusError) => void
}

export interface DownloadOptions extends AbortOptions {
  /** Indices of the files. @defaultValue all of them */
  readonly files?: readonly number[] | undefined
}

/** What a torrent starts from. Made by a client. */
export interface TorrentInit {
  readonly id: TorrentId
  readonly metainfo?: Metainfo | undefined
  /** A name to show until the metadata is there. */
  readonly name?: string | undefined
  readonly trackers: readonly (readonly string[])[]
  /** URLs of a .torrent, tried where the metadata is missing. */
  readonly exactSources: readonly string[]
  readonly storage: Storage
  readonly namespace: string
  /** Whether the sources of peers are asked. */
  readonly announce: boolean
  readonly rates?: Partial<Rates> | undefined
}

/** One torrent of a client: its files as bytes to read, its peers, its progress. */
export class Torrent extends typedEventEmitter<TorrentEvents>() implements AsyncDisposable {
  readonly id: TorrentId
  readonly #context: TorrentContext
  readonly #init: TorrentInit
  readonly #rates: SharedRates
  readonly #swarm: Swarm
  readonly #sources: TorrentSources
  readonly #arrivals = new PieceArrivals()
  readonly #ready: Promise<void>
  #resolveReady: () => void = () => {}
  #rejectReady: (reason: unknown) => void = () => {}
  readonly #ended = new AbortController()
  #metainfo: Metainfo | undefined
  #transfer: Transfer | undefined
  #files: readonly TorrentFile[] = []
  #opening: Promise<void> | undefined
  #readers = 0
  #closed: Promise<void> | undefined

  /** Use `Client.add`. */
  constructor(context: TorrentContext, init: TorrentInit) {
    super()
    this.setMaxListeners(0)
    this.id = init.id
    this.#context = context
    this.#init = init
    const warn = (error: IsthmusError) => this.#warn(error)
    this.#rates = new SharedRates(context.rates)
    this.#rates.set(init.rates ?? {})
    this.#swarm = new Swarm({
      id: init.id,
      peerId: context.peerId,
      limits: context.limits,
      connections: context.connections,
      guard: context.guard,
      ownAddress: context.ownAddress,
      rates: this.#rates,
      seeding: context.seedingChoice,
      port: context.port,
      random: context.random,
      obfuscation: context.obfuscation,
      dhtPort: context.dhtPort,
      onDhtNode: context.onDhtNode,
      handler: {
        onMetadata: (info) => this.#onMetadata(info),
        onPeer: (peer) => this.emit('peer', peer.address),
        onPeerGone: () => {},
        onWarning: warn,
      },
    })
    this.#sources = new TorrentSources({
      id: init.id,
      context,
      trackers: init.trackers,
      totals: () => this.#totals(),
      onPeers: (peers) => this.#swarm.addAddresses(peers),
      onWarning: warn,
    })
    this.#ready = new Promise((resolve, reject) => {
      this.#resolveReady = resolve
      this.#rejectReady = reject
    })
    // Who never asks whether it is ready must not bring the process down.
    this.#ready.catch(() => {})
  }

  /** The v1 hash where there is one, else the v2 hash. */
  get infoHash(): InfoHash {
    return primaryInfoHash(this.id)
  }

  /** Of a hybrid torrent, its other hash. */
  get infoHashV2(): InfoHashV2 | undefined {
    const id = this.#metainfo?.id ?? this.id
    return id.v1 === undefined ? undefined : id.v2
  }

  /** Undefined until a peer or another source told it. */
  get metainfo(): Metainfo | undefined {
    return this.#metainfo
  }

  get name(): string | undefined {
    return this.#metainfo?.name ?? this.#init.name
  }

  /** Bytes of all files. */
  get length(): number | undefined {
    return this.#metainfo?.length
  }

  get pieceLength(): number | undefined {
    return this.#metainfo?.layout.pieceLength
  }

  get pieceCount(): number | undefined {
    return this.#metainfo?.layout.pieceCount
  }

  /** Share of the bytes that can be read at once, 0 to 1. */
  get progress(): number {
    const store = this.#transfer?.store
    if (store === undefined) return 0
    const { length } = store.layout
    return length === 0 ? 1 : this.#verifiedBytes(store) / length
  }

  get isComplete(): boolean {
    return this.#transfer?.store.isComplete ?? false
  }

  /** Whether metadata is known and the storage is open. */
  get isReady(): boolean {
    return this.#transfer !== undefined
  }

  get isClosed(): boolean {
    return this.#closed !== undefined
  }

  /** How fast this torrent may be; those of the client hold beside it. */
  get rates(): Rates {
    return this.#rates
  }

  /** Connected peers. */
  get peerCount(): number {
    return this.#swarm.peers.size
  }

  /** Bytes of blocks per second, over the last few seconds. */
  get downloadRate(): number {
    return this.#swarm.downloadRate.perSecond(performance.now())
  }

  /** Bytes of blocks per second, over the last few seconds. */
  get uploadRate(): number {
    return this.#swarm.uploadRate.perSecond(performance.now())
  }

  /** Bytes of blocks that came since the torrent was added. */
  get downloaded(): number {
    return this.#swarm.downloadRate.total
  }

  /** Bytes of blocks that left since the torrent was added. */
  get uploaded(): number {
    return this.#swarm.uploadRate.total
  }

  /** Open reads. */
  get readerCount(): number {
    return this.#readers
  }

  /** Empty until it is ready. */
  get files(): readonly TorrentFile[] {
    return this.#files
  }

  /** What each tracker last said. */
  get trackers() {
    return this.#sources.trackerStatus
  }

  /**
   * Resolves once metadata is known and the storage is open. Rejects with `ISTHMUS_TORRENT_REMOVED`
   * when it is removed before, with `ISTHMUS_STORAGE_FAILED` when the storage does not open.
   */
  ready({ signal }: AbortOptions = {}): Promise<void> {
    return abortable(this.#ready, signal)
  }

  /**
   * A file by its exact path (with the torrent's name first where it has many files) or its index.
   *
   * @throws IsthmusError `ISTHMUS_METADATA_MISSING` before it is ready, `ISTHMUS_FILE_UNKNOWN`.
   */
  file(pathOrIndex: string | number): TorrentFile {
    if (this.#transfer === undefined) {
      throw new IsthmusError(
        'ISTHMUS_METADATA_MISSING',
        'the files of the torrent are not known yet',
      )
    }
    const file =
      typeof pathOrIndex === 'number'
        ? this.#files[pathOrIndex]
        : this.#files.find(({ path }) => path === pathOrIndex)
    if (file !== undefined) return file
    throw new IsthmusError('ISTHMUS_FILE_UNKNOWN', `the torrent has no file ${pathOrIndex}`)
  }

  /**
   * Connects to these peers, whatever the address policy says of strangers' addresses. @returns how
   * many are new. @throws IsthmusError `ISTHMUS_PEER_ADDRESS_INVALID`.
   */
  addPeers(peers: readonly (PeerAddress | string)[]): number {
    const addresses = peers.map((peer) =>
      typeof peer === 'string' ? parsePeerAddress(peer) : peer,
    )
    return this.#swarm.addAddresses(addresses, { now: true })
  }

  addTrackers(urls: readonly string[]): void {
    this.#sources.addTrackers(urls)
  }

  hasPiece(piece: number): boolean {
    return this.#transfer?.store.available.has(piece) ?? false
  }

  /**
   * Fetches whole files; resolves once all of it is verified and stored. A storage with a capacity
   * may let go of it afterwards, when somebody needs the room. Rejects with `ISTHMUS_STORAGE_FULL`
   * where the storage can never hold that much at once.
   */
  async download({ files, signal }: DownloadOptions = {}): Promise<void> {
    await this.ready({ signal })
    const transfer = this.#transfer as Transfer
    const { layout, capacityBytes } = transfer.store
    const chosen = (files ?? this.#files.map(({ index }) => index)).map((index) => this.file(index))
    const runs = chosen.map(({ offset, length }) =>
      layout.piecesOf({ start: offset, end: offset + length }),
    )
    if (bytesOf(runs, layout) > capacityBytes) {
      throw new IsthmusError('ISTHMUS_STORAGE_FULL', 'the storage cannot hold all of it at once')
    }
    for (const run of runs) transfer.want(run)
    try {
      for (const run of runs) {
        for (let piece = run.start; piece < run.end; piece++) {
          await this.#arrivals.available(piece, transfer, signal)
        }
      }
      await transfer.store.settled()
    } finally {
      for (const run of runs) transfer.unwant(run)
    }
  }

  /** Hashes all that the storage has; what is wrong counts as missing from then on. */
  async verify({ signal }: AbortOptions = {}): Promise<void> {
    await this.ready({ signal })
    await (this.#transfer as Transfer).store.verify({ signal })
  }

  /** Begins: opens the storage where the metadata is known, and looks for peers. For the client. */
  start(): void {
    if (this.#init.metainfo !== undefined) this.#setMetainfo(this.#init.metainfo)
    else this.#fetchExactSources()
    const isPrivate = this.#metainfo?.private ?? false
    if (this.#init.announce) this.#sources.start({ isPrivate })
  }

  /** The metadata came from elsewhere. For the client. */
  provide(metainfo: Metainfo): void {
    if (this.#metainfo === undefined && !this.isClosed) this.#setMetainfo(metainfo)
  }

  /** Addresses that a stranger named. For the client. */
  addStrangers(addresses: readonly PeerAddress[]): void {
    this.#swarm.addAddresses(addresses.filter((a) => this.#context.guard.allowsPeer(a)))
  }

  /** A connection came in for this torrent. For the client. */
  accept(peer: Peer, handshake: Handshake): PeerHandler | undefined {
    return this.#swarm.accept(peer, handshake)
  }

  /** Ends reads and connections, tells trackers, closes the storage. Use `Client.remove`. */
  close(options: { destroyData?: boolean } = {}): Promise<void> {
    this.#closed ??= this.#close(options.destroyData ?? false)
    return this.#closed
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }

  async #close(destroy: boolean): Promise<void> {
    const reason = new IsthmusError('ISTHMUS_TORRENT_REMOVED', 'the torrent was removed')
    this.#ended.abort(reason)
    this.#rejectReady(reason)
    this.#arrivals.close(reason)
    this.#swarm.close()
    this.#rates.close()
    const goodbye = this.#sources.close()
    try {
      await this.#opening
      await this.#transfer?.close({ destroy })
    } finally {
      await goodbye
    }
  }

  #totals() {
    const length = this.#metainfo?.layout.length
    const store = this.#transfer?.store
    const left =
      length === undefined || store === undefined ? undefined : length - this.#verifiedBytes(store)
    return { ...this.#swarm.totals, left }
  }

  #verifiedBytes({ layout, available }: Transfer['store']): number {
    const last = layout.pieceCount - 1
    if (last < 0) return 0
    const lastShort = available.has(last) ? layout.pieceLength - layout.pieceSize(last) : 0
    return available.count * layout.pieceLength - lastShort
  }

  #onMetadata(info: Uint8Array): boolean {
    try {
      const { limits } = this.#context
      this.#setMetainfo(metainfoFromInfo(info, { limits, expect: this.id }))
      return true
    } catch (error) {
      if (isIsthmusError(error)) this.#warn(error)
      return false
    }
  }

  #setMetainfo(metainfo: Metainfo): void {
    if (this.#metainfo !== undefined || this.isClosed) return
    this.#metainfo = metainfo
    if (metainfo.private) this.#sources.restrict()
    this.#swarm.setMetainfo(metainfo)
    this.#opening = this.#open(metainfo).catch((error: unknown) => {
      const failure = isIsthmusError(error)
        ? error
        : new IsthmusError('ISTHMUS_STORAGE_FAILED', 'the storage did not open', { cause: error })
      this.#rejectReady(failure)
      this.#warn(failure)
    })
  }

  async #open(metainfo: Metainfo): Promise<void> {
    const { hasher, cache, budget, limits, random } = this.#context
    const { signal } = this.#ended
    const { namespace } = this.#init
    hasher.warm()
    const storage = await this.#init.storage.open(metainfo, { namespace, signal })
    const transfer = await Transfer.open(
      {
        metainfo,
        storage,
        hasher,
        cache,
        budget,
        limits,
        random,
        peers: this.#swarm.peers,
        handler: {
          onVerified: (piece) => this.#onVerified(piece),
          onLost: (piece) => this.#onLost(piece),
          onComplete: () => this.#onComplete(),
          onLiar: (peer) => this.#swarm.ban(peer),
          expectsPeers: () => this.#swarm.expectsPeers,
          onWarning: (error) => this.#warn(error),
        },
      },
      { signal },
    ).catch(async (error: unknown) => {
      await storage.close()
      throw error
    })
    if (this.isClosed) return transfer.close()
    this.#transfer = transfer
    const source = this.#readerSource(transfer)
    this.#files = metainfo.files.map((file) => new TorrentFile(source, metainfo, file))
    this.#swarm.start(transfer)
    this.#resolveReady()
    this.emit('ready')
  }

  #readerSource(transfer: Transfer): ReaderSource {
    return {
      transfer,
      arrivals: this.#arrivals,
      limits: this.#context.limits,
      track: () => {
        this.#readers++
        return () => this.#readers--
      },
      readerCount: () => this.#readers,
    }
  }

  #onVerified(piece: number): void {
    this.#swarm.announcePiece(piece)
    this.#arrivals.notify(piece)
    this.emit('verified', piece)
  }

  #onLost(piece: number): void {
    this.#swarm.announceLost(piece)
    this.#arrivals.notify(piece)
  }

  #onComplete(): void {
    if (this.downloaded > 0) this.#sources.completed()
    this.emit('done')
  }

  /** `xs` of a magnet link: the first .torrent that is the right one. */
  #fetchExactSources(): void {
    const { guard, limits } = this.#context
    const { signal } = this.#ended
    for (const source of this.#init.exactSources) {
      fetchBytes(guard, new URL(source), { maxBytes: limits.metainfoBytes, signal })
        .then(({ bytes }) => {
          const { infoBytes } = parseMetainfo(bytes, { limits })
          if (this.#metainfo === undefined) this.#onMetadata(infoBytes)
        })
        .catch((error: unknown) => {
          if (isIsthmusError(error)) this.#warn(error)
        })
    }
  }

  #warn(error: IsthmusError): void {
    if (!this.isClosed) this.emit('warning', error)
  }
}

/** Bytes of the pieces of all runs, each piece counted once. */
function bytesOf(runs: readonly ByteRange[], layout: Layout): number {
  let bytes = 0
  let next = 0
  for (const { start, end } of runs.toSorted((a, b) => a.start - b.start)) {
    for (let piece = Math.max(start, next); piece < end; piece++) bytes += layout.pieceSize(piece)
    next = Math.max(next, end)
  }
  return bytes
}
