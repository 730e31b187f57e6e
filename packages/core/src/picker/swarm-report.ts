/** Why a block was asked for again; `unexplained` is a defect of the picker. */
export type AskedTwiceReason =
  /** Due some time ago, of whoever was asked first. */
  | 'late'
  /** Expected far sooner of the second than of the first. */
  | 'sooner'
  /** Who was asked first is gone. */
  | 'left'
  | 'refused'
  | 'choked'
  /** Who was asked first did not answer for `requestMs`. */
  | 'snubbed'
  /** It was taken back: no reader needed it any more, or its memory was needed elsewhere. */
  | 'unwanted'
  /** Its piece failed the hash. */
  | 'failed'
  | 'unexplained'

/** One wait of a reader. */
export interface ReportedStall {
  readonly piece: number
  readonly atMs: number
  readonly ms: number
}

export interface ReadReport {
  readonly start: number
  startedAtMs: number
  /** From its beginning until its first piece was here. Undefined where it never was. */
  firstPieceMs: number | undefined
  /** Waits after the first piece, in order. */
  readonly stalls: ReportedStall[]
  bytes: number
  endedAtMs: number | undefined
  /** `left`: for the next read. `poisoned`: nothing but wrong bytes was to be had. */
  outcome: 'waiting' | 'done' | 'left' | 'poisoned'
}

export interface ReaderReport {
  readonly reads: readonly ReadReport[]
}

export interface PeerReport {
  asked: number
  /** Blocks that came, whatever became of them. */
  delivered: number
  /** Of these, such as nobody waited for any more. */
  duplicates: number
  duplicateBytes: number
  rejects: number
  cancels: number
  connections: number
  /** Connected and unchoked, and asked for nothing. */
  idleMs: number
  /** Idle although a free block was wanted that it could have delivered in time. */
  starvedMs: number
  longestStarvedMs: number
  /** How often we told it that we are interested, or not any more; once per connection is the least. */
  interestChanges: number
  /** How often nothing came for `requestMs`. */
  snubs: number
  banned: boolean
}

/** What came of a simulated swarm. */
export interface SwarmReport {
  readonly seed: number
  /** `done`: all that was wanted came, or readers were told that it never will. */
  readonly ended: 'done' | 'time' | 'events'
  readonly endedAtMs: number
  readonly events: number
  /** Pieces that are here. */
  readonly verified: number
  readonly asked: number
  readonly delivered: number
  readonly duplicates: number
  /** Bytes of duplicates and of pieces that failed. */
  readonly wastedBytes: number
  readonly failedPieces: number
  /** Blocks asked for again, by why. */
  readonly askedTwice: Readonly<Record<AskedTwiceReason, number>>
  /** The first few that nothing explains. */
  readonly unexplained: readonly string[]
  readonly interestChanges: number
  /** In the order of the scenario. */
  readonly readers: readonly ReaderReport[]
  readonly peers: readonly PeerReport[]
}

/** Of a peer that nothing has come of. */
export function emptyPeerReport(): PeerReport {
  return {
    asked: 0,
    delivered: 0,
    duplicates: 0,
    duplicateBytes: 0,
    rejects: 0,
    cancels: 0,
    connections: 0,
    idleMs: 0,
    starvedMs: 0,
    longestStarvedMs: 0,
    interestChanges: 0,
    snubs: 0,
    banned: false,
  }
}
