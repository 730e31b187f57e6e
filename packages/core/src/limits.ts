/** Bounds on what strangers can make us hold or do. Every one has a default and can be changed. */
export interface Limits {
  /** Bytes of a .torrent file or of metadata from a peer. @defaultValue 8_388_608 (8 MiB) */
  readonly metainfoBytes: number
  /** Depth of nested lists and dictionaries in bencode. @defaultValue 100 */
  readonly bencodeDepth: number
  /** Weight of one bencoded message: an integer or key counts 1, a string or list 2, a dictionary 4. @defaultValue 3_000_000 */
  readonly bencodeTokens: number
  /** Pieces of a torrent. @defaultValue 2_097_152 */
  readonly pieces: number
  /** Bytes of one piece. @defaultValue 536_870_912 (512 MiB) */
  readonly pieceBytes: number
  /** Files of a torrent. @defaultValue 100_000 */
  readonly files: number
  /** Components of a path in a torrent. @defaultValue 100 */
  readonly pathComponents: number
  /** UTF-8 bytes of one component of a path. @defaultValue 1_024 */
  readonly pathComponentBytes: number
  /** UTF-8 bytes of a whole path. @defaultValue 4_096 */
  readonly pathBytes: number
  /** UTF-8 bytes of all paths of a torrent, each component counted 64 more. @defaultValue 67_108_864 (64 MiB) */
  readonly torrentPathBytes: number
  /** Characters of a magnet link. @defaultValue 8_192 */
  readonly magnetCharacters: number
  /** Trackers of a torrent, from all sources. @defaultValue 64 */
  readonly trackers: number
  /** Web seeds of a torrent. @defaultValue 16 */
  readonly webSeeds: number
  /** Peer addresses in a magnet link. @defaultValue 16 */
  readonly magnetPeers: number
  /** Bytes of a tracker's answer. @defaultValue 1_048_576 (1 MiB) */
  readonly trackerResponseBytes: number
  /** Redirects that one fetch follows. @defaultValue 5 */
  readonly redirects: number
  /** Bytes of a bitfield or extended message on the wire. @defaultValue 1_048_576 (1 MiB) */
  readonly messageBytes: number
  /** Requests that one peer may have waiting with us; also the `reqq` that we announce. @defaultValue 500 */
  readonly peerRequests: number
  /** Bytes waiting in one peer's socket before we answer it no more blocks. @defaultValue 1_048_576 (1 MiB) */
  readonly peerSendBytes: number
  /** Connected peers of one torrent. @defaultValue 100 */
  readonly torrentPeers: number
  /** Connected peers of one client. @defaultValue 500 */
  readonly clientPeers: number
  /** Connections being opened at once. @defaultValue 50 */
  readonly halfOpen: number
  /** Known addresses per torrent that are not connected. @defaultValue 1_000 */
  readonly knownPeers: number
  /**
   * Peers of one torrent that are sent blocks at a time. Fewer give each of them more and make
   * exchange fairer; more keep a fast line busy with slow peers. @defaultValue 20
   */
  readonly uploadSlots: number
  /**
   * Time between two looks at who deserves an upload slot, in ms. What BEP 3 says of 30 and 60
   * seconds is 3 and 6 of it. @defaultValue 10_000
   */
  readonly chokeRoundMs: number
  /** Bytes received and held, not yet taken by a storage, in one client. @defaultValue 67_108_864 (64 MiB) */
  readonly memoryBytes: number
  /** Bytes of verified pieces kept in front of storages whose reads cost I/O or a hash, in one client. @defaultValue 33_554_432 (32 MiB) */
  readonly cacheBytes: number
  /** Bytes that a reader is ahead of its consumer at most. @defaultValue 33_554_432 (32 MiB) */
  readonly readaheadBytes: number
  /** Torrents of one client. @defaultValue 10_000 */
  readonly torrents: number
  /** Time for a connection to open and its handshake to arrive, in ms. @defaultValue 10_000 */
  readonly handshakeMs: number
  /** Silence after which a peer is dropped, in ms. @defaultValue 120_000 */
  readonly peerIdleMs: number
  /** Time after which a request is given to somebody else, in ms. @defaultValue 20_000 */
  readonly requestMs: number
  /** Time without a block after which a streaming block is asked from a second peer, in ms. @defaultValue 5_000 */
  readonly hedgeMs: number
  /** Times that a piece may fail its hash before reading it is given up. @defaultValue 8 */
  readonly pieceFailures: number
}

const MIB = 1024 * 1024

export const defaultLimits: Limits = Object.freeze({
  metainfoBytes: 8 * MIB,
  bencodeDepth: 100,
  bencodeTokens: 3_000_000,
  pieces: 2_097_152,
  pieceBytes: 512 * MIB,
  files: 100_000,
  pathComponents: 100,
  pathComponentBytes: 1024,
  pathBytes: 4096,
  torrentPathBytes: 64 * MIB,
  magnetCharacters: 8192,
  trackers: 64,
  webSeeds: 16,
  magnetPeers: 16,
  trackerResponseBytes: MIB,
  redirects: 5,
  messageBytes: MIB,
  peerRequests: 500,
  peerSendBytes: MIB,
  torrentPeers: 100,
  clientPeers: 500,
  halfOpen: 50,
  knownPeers: 1000,
  uploadSlots: 20,
  chokeRoundMs: 10_000,
  memoryBytes: 64 * MIB,
  cacheBytes: 32 * MIB,
  readaheadBytes: 32 * MIB,
  torrents: 10_000,
  handshakeMs: 10_000,
  peerIdleMs: 120_000,
  requestMs: 20_000,
  hedgeMs: 5000,
  pieceFailures: 8,
})

/** The default limits with some of them replaced. @throws RangeError for one that is not a positive integer. */
export function createLimits(overrides: Partial<Limits> = {}): Limits {
  for (const [name, value] of Object.entries(overrides)) {
    if (value !== undefined && !(Number.isSafeInteger(value) && value > 0)) {
      throw new RangeError(`the limit ${name} must be a positive integer, not ${value}`)
    }
  }
  const given = Object.entries(overrides).filter(([, value]) => value !== undefined)
  return Object.freeze({ ...defaultLimits, ...Object.fromEntries(given) })
}
