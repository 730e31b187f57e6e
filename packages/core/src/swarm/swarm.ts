import type { Socket } from 'node:net'
import type { PeerAddress, TransferTotals } from '../discovery/discovery.ts'
import { IsthmusError, isIsthmusError } from '../errors.ts'
import type { Limits } from '../limits.ts'
import { type TorrentId, wireInfoHash } from '../metainfo/info-hash.ts'
import type { Metainfo } from '../metainfo/metainfo.ts'
import type { EgressGuard } from '../net/egress-guard.ts'
import { parseIpAddress } from '../net/ip-address.ts'
import type { SeedingChoice } from '../picker/choker.ts'
import type { BlockRequest } from '../wire/data-plane.ts'
import type { BlockSink } from '../wire/frames.ts'
import type { Handshake } from '../wire/handshake.ts'
import { decodeDontHave } from '../wire/lt-donthave.ts'
import { dialKinds, type ObfuscationSettings } from '../wire/obfuscation-policy.ts'
import { AddressBook, type KnownPeer } from './address-book.ts'
import type { ConnectionLimits } from './connection-limits.ts'
import { MetadataExchange } from './metadata-exchange.ts'
import type { OwnAddress } from './own-address.ts'
import { Peer, type PeerHandler } from './peer.ts'
import { PeerExchange } from './peer-exchange.ts'
import { connectSocket } from './peer-sockets.ts'
import { PeerTurnover } from './peer-turnover.ts'
import { PieceNotices } from './piece-notices.ts'
import { RateMeter } from './rate-meter.ts'
import type { SharedRates } from './rates.ts'
import type { Transfer } from './transfer.ts'
import { UploadSlots } from './upload-slots.ts'

/** The torrent around a swarm. */
export interface SwarmHandler {
  /** Bytes of an info dictionary: whether they are this torrent's. */
  onMetadata(info: Uint8Array): boolean
  onPeer(peer: Peer): void
  onPeerGone(peer: Peer): void
  onWarning(error: IsthmusError): void
}

export interface SwarmOptions {
  readonly id: TorrentId
  /** Ours, 20 bytes. */
  readonly peerId: Uint8Array
  readonly limits: Limits
  readonly connections: ConnectionLimits
  /** Judges the addresses that peers name. */
  readonly guard: EgressGuard
  /** Shared by all torrents of a client. */
  readonly ownAddress: OwnAddress
  readonly rates: SharedRates
  /** Where we listen, told to peers; undefined while we do not. */
  readonly port: () => number | undefined
  /** Where the DHT hears us (BEP 5); undefined while it does not. */
  readonly dhtPort: () => number | undefined
  /** A peer takes part in the DHT there. */
  readonly onDhtNode: (node: PeerAddress) => void
  /** How connections are hidden (MSE). */
  readonly obfuscation: ObfuscationSettings
  readonly random: () => number
  /** Whom a complete torrent prefers. @defaultValue 'round-robin' */
  readonly seeding?: SeedingChoice | undefined
  readonly handler: SwarmHandler
}

const CLIENT_NAME = 'Isthmus 0.1'
const KEEP_ALIVE_MS = 60_000
const HOUSEKEEPING_MS = 1000
/** Two seeds have nothing to say to each other. */
const SEED_RETRY_MS = 30 * 60_000

/** The peers of one torrent: whom we know, who is connected, who gets what. */
export class Swarm implements PeerHandler {
  readonly peers = new Set<Peer>()
  readonly downloadRate = new RateMeter()
  readonly uploadRate = new RateMeter()
  readonly #options: SwarmOptions
  readonly #book: AddressBook
  readonly #metadata: MetadataExchange
  readonly #slots: UploadSlots
  readonly #exchange: PeerExchange
  readonly #turnover: PeerTurnover
  readonly #notices = new PieceNotices(this.peers)
  readonly #known = new Map<Peer, KnownPeer>()
  /** Dialed, its handshake still to come. */
  readonly #opening = new Set<Peer>()
  readonly #connectLater = () => this.#connect()
  #metainfo: Metainfo | undefined
  #transfer: Transfer | undefined
  /** Places that are free and taken already: nobody is dialed for them. */
  #reserved = 0
  #housekeeping: NodeJS.Timeout | undefined
  #dialTimer: NodeJS.Timeout | undefined
  #closed = false

  constructor(options: SwarmOptions) {
    const { limits, random } = options
    this.#options = options
    this.#book = new AddressBook({ knownAtMost: limits.knownPeers, random })
    this.#metadata = new MetadataExchange({
      limits,
      accept: (info) => options.handler.onMetadata(info),
    })
    this.#slots = new UploadSlots({
      slots: limits.uploadSlots,
      roundMs: limits.chokeRoundMs,
      seeding: options.seeding,
      random,
      isSeeding: () => this.#isComplete,
    })
    this.#turnover = new PeerTurnover({
      peers: this.peers,
      book: this.#book,
      ownAddress: options.ownAddress,
      port: options.port,
      isComplete: () => this.#isComplete,
    })
    this.#exchange = new PeerExchange({
      guard: options.guard,
      takenAtMost: Math.ceil(limits.knownPeers / 4),
      random,
      onAddresses: (addresses) => this.addAddresses(addresses),
    })
  }

  /** We want nothing of anybody: we have it all. */
  get #isComplete(): boolean {
    return this.#transfer?.store.isComplete ?? false
  }

  get totals(): TransferTotals {
    return { uploaded: this.uploadRate.total, downloaded: this.downloadRate.total }
  }

  /** Whether connections are being opened, or there are addresses worth a try. */
  get expectsPeers(): boolean {
    return this.#opening.size > 0 || this.#book.hasFresh
  }

  /** How many of these addresses are new. `now`: they are tried at once, whatever failed before. */
  addAddresses(addresses: readonly PeerAddress[], { now = false } = {}): number {
    let added = 0
    for (const address of addresses) {
      if (this.#book.add(address)) added++
      else if (now) this.#book.hurry(address)
    }
    if (added > 0 || now) this.#transfer?.forgive()
    this.#connect()
    return added
  }

  /** The metadata is known; connected peers are looked at with it once the transfer starts. */
  setMetainfo(metainfo: Metainfo): void {
    this.#metainfo = metainfo
    this.#metadata.provide(metainfo.infoBytes)
    if (!metainfo.private) return
    for (const peer of [...this.peers, ...this.#opening]) peer.wire.control.withdraw('ut_pex')
  }

  /** From now on pieces move. */
  start(transfer: Transfer): void {
    this.#transfer = transfer
    for (const peer of this.peers) this.#join(peer, transfer)
    this.#notices.start(transfer.store.available)
    this.#notices.setUploadOnly(this.#isComplete)
    transfer.fillAll()
  }

  /** A piece came: everybody who may want it is told. */
  announcePiece(piece: number): void {
    this.#notices.gained(piece)
    this.#notices.setUploadOnly(this.#isComplete)
  }

  /** A piece is gone: peers are told so, and seeds are of use again. */
  announceLost(piece: number): void {
    if (!this.#notices.lost(piece)) return
    this.#notices.setUploadOnly(this.#isComplete)
    this.#book.hurryDeferred()
    this.#connect()
  }

  /** A connection came in for this torrent. */
  accept(peer: Peer, handshake: Handshake): PeerHandler | undefined {
    if (this.#closed) return undefined
    const joins = this.#mayJoin(peer, handshake)
    // Ourselves are answered, so that our other end sees whom it dialed and does not dial again.
    if (joins || this.#isOurs(handshake)) this.#shakeHands(peer)
    return joins ? this : undefined
  }

  /** It sent bytes that were wrong. */
  ban(peer: Peer): void {
    this.#book.ban(peer.address, peer.peerId)
    peer.close(
      new IsthmusError('ISTHMUS_WIRE_PROTOCOL', 'the peer sent bytes that fail their hash'),
    )
  }

  /** Every connection ends, none is opened any more. */
  close(): void {
    this.#closed = true
    clearTimeout(this.#dialTimer)
    clearInterval(this.#housekeeping)
    this.#slots.close()
    this.#options.connections.forget(this.#connectLater)
    for (const peer of [...this.peers, ...this.#opening]) peer.close()
  }

  // What peers tell

  onOpen(peer: Peer): void {
    const transfer = this.#transfer
    const have = transfer?.store.available
    const which = have === undefined || have.count === 0 ? 'none' : have.isFull ? 'all' : 'some'
    const dhtPort = this.#metainfo?.private ? undefined : this.#options.dhtPort()
    peer.wire.control.presence(have?.bytes, which)
    if (dhtPort !== undefined && peer.speaksDht) peer.wire.control.dhtPort(dhtPort)
    this.#settled(peer)
    this.#turnover.joined(peer)
    this.#shareRates(peer)
    this.peers.add(peer)
    this.#startHousekeeping()
    if (transfer !== undefined) this.#join(peer, transfer)
    this.#options.handler.onPeer(peer)
  }

  onExtendedHandshake(peer: Peer): void {
    if (this.#isUseless(peer)) return peer.close()
    const { yourAddress } = peer.extended ?? {}
    if (yourAddress !== undefined) this.#options.ownAddress.vote(peer.address.host, yourAddress)
    this.#metadata.onExtendedHandshake(peer)
  }

  onExtension(peer: Peer, name: string, payload: Uint8Array): void {
    switch (name) {
      case 'ut_metadata':
        return this.#metadata.onMessage(peer, payload)
      case 'ut_pex':
        return this.#exchange.onMessage(peer, payload, peer.wire.lastReceivedAt)
      case 'lt_donthave':
        return this.#onDontHave(peer, decodeDontHave(payload))
      case 'upload_only':
        peer.uploadOnly = payload[0] !== undefined && payload[0] !== 0
        if (this.#isUseless(peer)) peer.close()
    }
  }

  onPieces(peer: Peer, piece: number | undefined): void {
    if (this.#isUseless(peer)) return peer.close()
    this.#transfer?.onPieces(peer, piece)
  }

  onChoke(): void {}

  onUnchoke(peer: Peer): void {
    this.#transfer?.fill(peer)
  }

  onDhtPort(peer: Peer, port: number): void {
    if (port === 0 || this.#metainfo?.private) return
    this.#options.onDhtNode({ host: peer.address.host, port })
  }

  onInterest(peer: Peer): void {
    this.#slots.onInterest(peer)
  }

  onBlockStart(peer: Peer, block: BlockRequest): BlockSink | undefined {
    return this.#transfer?.onBlockStart(peer, block)
  }

  onBlock(peer: Peer, block: BlockRequest): void {
    this.downloadRate.add(block.length, peer.wire.lastReceivedAt)
    this.#transfer?.onBlock(peer, block)
  }

  onReject(peer: Peer, block: BlockRequest): void {
    this.#transfer?.onReject(peer, block)
  }

  onTurn(peer: Peer): void {
    this.#transfer?.fill(peer)
  }

  onClose(peer: Peer, error: IsthmusError | undefined): void {
    this.#settled(peer)
    this.#options.connections.closed()
    this.#slots.remove(peer)
    this.#metadata.removePeer(peer)
    this.#exchange.removePeer(peer)
    if (peer.rates !== undefined) this.#options.rates.removePeer(peer.rates)
    const useful = peer.wire.data.downloaded > 0 || peer.wire.data.uploaded > 0
    const known = this.#known.get(peer)
    this.#known.delete(peer)
    if (known !== undefined) {
      const wait = this.#isUseless(peer) ? SEED_RETRY_MS : undefined
      if (this.#hungUp(peer, known)) this.#book.retryOtherwise(known)
      else this.#book.disconnected(known, performance.now(), useful, wait)
    }
    if (this.peers.delete(peer)) {
      this.#transfer?.removePeer(peer)
      this.#options.handler.onPeerGone(peer)
    }
    if (this.peers.size === 0) this.#stopHousekeeping()
    if (isIsthmusError(error, 'ISTHMUS_INTERNAL')) this.#options.handler.onWarning(error)
    this.#connect()
  }

  // Opening connections

  #connect(): void {
    while (!this.#closed && this.#places > 0) {
      const known = this.#book.next(performance.now())
      if (known === undefined) return this.#connectAtNextTime()
      if (!this.#options.connections.tryOpen(this.#connectLater)) return
      this.#dial(known)
    }
  }

  /** How many more may be connected. */
  get #places(): number {
    const taken = this.peers.size + this.#opening.size + this.#reserved
    return this.#options.limits.torrentPeers - taken
  }

  #connectAtNextTime(): void {
    const at = this.#book.nextAt()
    clearTimeout(this.#dialTimer)
    if (at === undefined) return
    const wait = Math.max(10, at - performance.now())
    this.#dialTimer = setTimeout(this.#connectLater, wait)
    this.#dialTimer.unref()
  }

  #dial(known: KnownPeer): void {
    this.#book.connected(known)
    const { address } = known
    const { obfuscation } = this.#options
    const kinds = dialKinds(obfuscation.policy ?? 'allow')
    const obfuscated = kinds[known.otherwise % kinds.length] === 'obfuscated'
    const socket: Socket = connectSocket(address, (chunk) => peer.wire.receive(chunk))
    const peer: Peer = new Peer({
      socket,
      address,
      incoming: false,
      limits: this.#options.limits,
      obfuscation: obfuscated ? { role: 'initiate' } : undefined,
      route: (_, handshake) => (this.#mayJoin(peer, handshake) ? this : undefined),
      onLost: () => this.onClose(peer, undefined),
    })
    this.#opening.add(peer)
    this.#known.set(peer, known)
    this.#shakeHands(peer)
    if (obfuscated) peer.wire.obfuscate(wireInfoHash(this.#options.id), obfuscation)
  }

  /** Dialed, and gone again without a handshake: it may want the connection to begin another way. */
  #hungUp(peer: Peer, known: KnownPeer): boolean {
    const kinds = dialKinds(this.#options.obfuscation.policy ?? 'allow')
    const tried = known.otherwise % kinds.length
    return !this.#closed && peer.reached && peer.handshake === undefined && tried + 1 < kinds.length
  }

  #shakeHands(peer: Peer): void {
    const port = this.#options.port()
    const yourip = parseIpAddress(peer.address.host)
    // BEP 27: of a private torrent only trackers tell who else is there.
    if (this.#metainfo?.private) peer.wire.control.withdraw('ut_pex')
    peer.wire.control.sendHandshake(
      wireInfoHash(this.#options.id),
      this.#options.peerId,
      {
        v: CLIENT_NAME,
        reqq: this.#options.limits.peerRequests,
        ...(port === undefined || peer.incoming ? {} : { p: port }),
        ...(this.#isComplete ? { upload_only: 1 } : {}),
        ...(yourip === undefined ? {} : { yourip }),
        ...(this.#metainfo === undefined ? {} : { metadata_size: this.#metainfo.infoBytes.length }),
      },
      { dht: this.#options.dhtPort() !== undefined && !this.#metainfo?.private },
    )
  }

  #mayJoin(peer: Peer, handshake: Handshake): boolean {
    const { id, limits } = this.#options
    if (Buffer.compare(handshake.infoHash, wireInfoHash(id)) !== 0) return false
    // Ourselves, found through a tracker.
    if (this.#isOurs(handshake)) return this.#refuse(peer)
    if (this.#book.isBanned(peer.address, handshake.peerId)) return this.#refuse(peer)
    for (const other of this.peers) {
      const same = other.peerId && Buffer.compare(other.peerId, handshake.peerId) === 0
      if (!same || other.address.host !== peer.address.host) continue
      if (!this.#supersedes(peer, other, handshake)) return false
      other.close()
    }
    if (!peer.incoming || this.peers.size < limits.torrentPeers) return true
    this.#reserved++
    const hasRoom = this.#turnover.makeRoomFor(peer.address, performance.now())
    this.#reserved--
    return hasRoom
  }

  /**
   * Both ends dialed: of two connections each end must keep the same one, which is that of the
   * smaller peer id.
   */
  #supersedes(peer: Peer, other: Peer, handshake: Handshake): boolean {
    if (peer.incoming === other.incoming) return false
    const ourDialStays = Buffer.compare(this.#options.peerId, handshake.peerId) < 0
    return peer.incoming !== ourDialStays
  }

  #isOurs({ peerId }: Handshake): boolean {
    return Buffer.compare(peerId, this.#options.peerId) === 0
  }

  /** Not now, and not later. */
  #refuse(peer: Peer): false {
    const known = this.#known.get(peer)
    if (known !== undefined) known.state = 'banned'
    return false
  }

  /** The connection is open, or lost: it is no longer being opened. */
  #settled(peer: Peer): void {
    if (this.#opening.delete(peer)) this.#options.connections.opened()
  }

  #join(peer: Peer, transfer: Transfer): void {
    const { layout } = transfer.store
    peer.wire.setShape(layout)
    transfer.addPeer(peer)
    peer.setShape(layout.pieceCount)
    peer.wire.data.serve({
      pieceRange: (piece) => transfer.pieceRange(piece),
      allowance: () => peer.rates?.upload.allowance() ?? Number.POSITIVE_INFINITY,
      read: async (span) => {
        peer.rates?.upload.spend(span.end - span.start)
        peer.rates?.upload.release()
        const bytes = await transfer.read(span)
        const now = performance.now()
        this.uploadRate.add(bytes.length, now)
        peer.uploadRate.add(bytes.length, now)
        return bytes
      },
    })
  }

  #shareRates(peer: Peer): void {
    const rates = this.#options.rates.addPeer({
      download: () => {
        this.#transfer?.fill(peer)
        rates.download.release()
      },
      upload: () => peer.wire.data.pump(),
    })
    peer.rates = rates
  }

  /** Two that want nothing have nothing to say to each other (BEP 21). */
  #isUseless(peer: Peer): boolean {
    return this.#isComplete && (peer.isSeed || peer.uploadOnly)
  }

  #onDontHave(peer: Peer, piece: number): void {
    if (peer.lost(piece)) this.#transfer?.onPeerLost(peer, piece)
  }

  // Now and then

  #startHousekeeping(): void {
    if (this.#housekeeping !== undefined) return
    this.#housekeeping = setInterval(() => this.#keepHouse(performance.now()), HOUSEKEEPING_MS)
    this.#housekeeping.unref()
  }

  #stopHousekeeping(): void {
    clearInterval(this.#housekeeping)
    this.#housekeeping = undefined
  }

  #keepHouse(now: number): void {
    const { limits } = this.#options
    this.#metadata.checkProgress(now - limits.requestMs)
    if (this.peers.size >= limits.torrentPeers) this.#turnover.check(now)
    if (!this.#metainfo?.private) this.#exchange.tell(this.peers, now)
    for (const peer of this.peers) {
      const { wire } = peer
      // It was of use until we became complete.
      if (this.#isUseless(peer)) {
        peer.close()
        continue
      }
      if (now - wire.lastReceivedAt > limits.peerIdleMs) {
        peer.close(new IsthmusError('ISTHMUS_WIRE_TIMEOUT', 'the peer fell silent'))
        continue
      }
      if (now - wire.lastSentAt > KEEP_ALIVE_MS) wire.control.keepAlive()
      const oldest = wire.data.oldestRequestAt
      const late = oldest !== undefined && now - oldest > limits.requestMs
      // Others do what it was asked for, and take it back each time: that must not hide its silence.
      const silent = peer.silentMs(now) > limits.hedgeMs
      if (late || (silent && !peer.snubbed)) {
        peer.snubbed = true
        this.#transfer?.takeBack(peer)
      }
      // Blocks that became late meanwhile may be asked from others.
      this.#transfer?.fill(peer)
    }
  }
}
