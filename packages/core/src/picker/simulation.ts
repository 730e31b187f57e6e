import { createLimits, type Limits } from '../limits.ts'
import { Bitfield } from '../metainfo/bitfield.ts'
import { Layout } from '../metainfo/layout.ts'
import { RequestLedger } from './request-ledger.ts'
import { seededRandom, seedOf } from './seeded-random.ts'
import { SimulatedConnection } from './simulated-connection.ts'
import { SimulatedReader } from './simulated-reader.ts'
import { SimulatedRemote } from './simulated-remote.ts'
import { SimulatedTransfer } from './simulated-transfer.ts'
import { StarvationWatch, type TrueRate } from './starvation.ts'
import type { SwarmParts } from './swarm-parts.ts'
import { emptyPeerReport, type PeerReport, type SwarmReport } from './swarm-report.ts'
import { peerDefaults, type SimulatedPeerOptions, type SwarmScenario } from './swarm-scenario.ts'
import { VirtualClock } from './virtual-clock.ts'

/** One peer, through all of its connections. */
interface Known {
  readonly options: SimulatedPeerOptions
  readonly random: () => number
  readonly pieces: Bitfield
  readonly report: PeerReport
  connection: SimulatedConnection | undefined
  remote: SimulatedRemote | undefined
  /** It is still to come, or to come back. */
  isExpected: boolean
}

const PIECE_COUNT = 256
const PIECE_LENGTH = 1024 * 1024
const VERIFY_MS = 1
const ENDS_AT_MS = 600_000
const EVENTS_AT_MOST = 5_000_000
/** As often as the swarm looks after its peers. */
const HOUSEKEEPING_MS = 1000
const WATCH_MS = 100

/** Runs a scenario to its end. Nothing but the scenario decides what comes of it. */
export function simulate(
  scenario: SwarmScenario,
  parts: SwarmParts<SimulatedConnection>,
): SwarmReport {
  return new Simulation(scenario, parts).run()
}

class Simulation {
  readonly #scenario: SwarmScenario
  readonly #limits: Limits
  readonly #clock = new VirtualClock()
  readonly #ledger = new RequestLedger<SimulatedConnection>()
  readonly #transfer: SimulatedTransfer
  readonly #known: readonly Known[]
  readonly #owners = new Map<SimulatedConnection, Known>()
  readonly #readers: readonly SimulatedReader[]
  readonly #watch: StarvationWatch

  constructor(scenario: SwarmScenario, parts: SwarmParts<SimulatedConnection>) {
    this.#scenario = scenario
    this.#limits = createLimits(scenario.limits)
    this.#transfer = this.#createTransfer(parts)
    this.#watch = new StarvationWatch(this.#transfer, (it) => this.#rateOf(it))
    this.#known = scenario.peers.map((options, index) => this.#createPeer(options, index))
    this.#readers = (scenario.readers ?? []).map(
      (options) =>
        new SimulatedReader(options, {
          clock: this.#clock,
          transfer: this.#transfer,
          readaheadBytes: Math.min(this.#limits.readaheadBytes, this.#limits.memoryBytes),
          createReadahead: (pieceLength) => parts.createReadahead(pieceLength),
        }),
    )
    if (scenario.download === true) {
      const { pieceCount } = this.#transfer.layout
      this.#clock.at(0, () => this.#transfer.want({ start: 0, end: pieceCount }))
    }
    this.#every(HOUSEKEEPING_MS, () => this.#keepHouse())
    this.#every(WATCH_MS, () => this.#watch.look(WATCH_MS))
  }

  run(): SwarmReport {
    const { endsAtMs = ENDS_AT_MS, eventsAtMost = EVENTS_AT_MOST } = this.#scenario
    let ended: SwarmReport['ended'] = 'done'
    while (!this.#isDone()) {
      if (this.#clock.happened >= eventsAtMost) ended = 'events'
      else if (this.#clock.step(endsAtMs)) continue
      else ended = 'time'
      break
    }
    return this.#report(ended)
  }

  #createTransfer(parts: SwarmParts<SimulatedConnection>): SimulatedTransfer {
    const { pieceCount = PIECE_COUNT, pieceLength = PIECE_LENGTH, seed } = this.#scenario
    return new SimulatedTransfer({
      layout: new Layout({ pieceLength, files: [{ length: pieceCount * pieceLength }] }),
      limits: this.#limits,
      clock: this.#clock,
      verifyMs: this.#scenario.verifyMs ?? VERIFY_MS,
      budget: parts.createBudget(this.#limits.memoryBytes),
      suspects: parts.createSuspects(),
      ledger: this.#ledger,
      random: seededRandom(seed),
      handler: {
        onVerified: (piece) => this.#notify(piece),
        onLost: (piece) => this.#notify(piece),
        onLiar: (connection) => this.#ban(connection),
        expectsPeers: () => this.#known.some(({ isExpected }) => isExpected),
      },
    })
  }

  #notify(piece: number): void {
    for (const reader of this.#readers) reader.notify(piece)
  }

  // Peers that come and go

  #createPeer(options: SimulatedPeerOptions, index: number): Known {
    const random = seededRandom(seedOf(this.#scenario.seed, index))
    const known: Known = {
      options,
      random,
      pieces: piecesOf(options, this.#transfer.layout.pieceCount, random),
      report: emptyPeerReport(),
      connection: undefined,
      remote: undefined,
      isExpected: true,
    }
    this.#clock.at(options.joinsAtMs ?? 0, () => this.#join(known))
    const { pieceEveryMs } = options
    if (pieceEveryMs !== undefined) this.#every(pieceEveryMs, () => getPiece(known))
    return known
  }

  #join(known: Known): void {
    const { options, report, pieces, random } = known
    known.isExpected = false
    if (report.banned) return
    const connection = new SimulatedConnection({
      clock: this.#clock,
      limits: this.#limits,
      requestQueue: options.requestQueue ?? peerDefaults.requestQueue,
      fast: options.fast ?? peerDefaults.fast,
      ledger: this.#ledger,
      report,
      handler: this.#transfer,
    })
    const remote = new SimulatedRemote({
      options,
      pieces,
      clock: this.#clock,
      random,
      handler: connection,
    })
    connection.attach(remote)
    known.connection = connection
    known.remote = remote
    this.#owners.set(connection, known)
    this.#transfer.add(connection)
    const { staysMs } = options
    if (staysMs === undefined) return
    this.#clock.after(staysMs * (0.5 + random()), () => this.#leave(known, connection))
  }

  #leave(known: Known, connection: SimulatedConnection): void {
    if (connection.closed) return
    const { awayMs } = known.options
    if (awayMs !== undefined && !known.report.banned) {
      known.isExpected = true
      this.#clock.after(awayMs * (0.5 + known.random()), () => this.#join(known))
    }
    this.#close(known, connection)
  }

  #close(known: Known, connection: SimulatedConnection): void {
    if (known.connection === connection) {
      known.connection = undefined
      known.remote = undefined
    }
    this.#transfer.remove(connection)
  }

  #ban(connection: SimulatedConnection): void {
    const known = this.#owners.get(connection)
    if (known === undefined) return
    known.report.banned = true
    this.#close(known, connection)
  }

  #rateOf(connection: SimulatedConnection): TrueRate | undefined {
    const options = this.#owners.get(connection)?.options
    if (options === undefined || (options.conduct ?? 'honest') !== 'honest') return undefined
    const { bytesPerSecond, roundTripMs } = peerDefaults
    return {
      bytesPerSecond: options.bytesPerSecond ?? bytesPerSecond,
      roundTripMs: (options.roundTripMs ?? roundTripMs) + (options.jitterMs ?? 0),
    }
  }

  // Now and then

  #every(ms: number, run: () => void): void {
    this.#clock.after(ms, () => {
      run()
      this.#every(ms, run)
    })
  }

  #keepHouse(): void {
    const { now } = this.#clock
    for (const connection of this.#transfer.connections) {
      const oldest = connection.oldestRequestAt
      const late = oldest !== undefined && now - oldest > this.#limits.requestMs
      const silent = connection.silentMs(now) > this.#limits.hedgeMs
      if (late || (silent && !connection.snubbed)) {
        connection.snubbed = true
        connection.report.snubs++
        this.#transfer.takeBack(connection)
      }
      this.#transfer.fill(connection)
    }
  }

  #isDone(): boolean {
    const { download } = this.#scenario
    if (download !== true && this.#readers.length === 0) return false
    const { verified } = this.#transfer
    return (download !== true || verified.isFull) && this.#readers.every(({ isOver }) => isOver)
  }

  #report(ended: SwarmReport['ended']): SwarmReport {
    for (const { connection } of this.#known) connection?.settle()
    const peers = this.#known.map(({ report }) => report)
    const sum = (of: (report: PeerReport) => number) => peers.reduce((n, it) => n + of(it), 0)
    const duplicateBytes = sum((it) => it.duplicateBytes)
    return {
      seed: this.#scenario.seed,
      ended,
      endedAtMs: this.#clock.now,
      events: this.#clock.happened,
      verified: this.#transfer.verified.count,
      asked: sum((it) => it.asked),
      delivered: sum((it) => it.delivered),
      duplicates: sum((it) => it.duplicates),
      wastedBytes: duplicateBytes + this.#transfer.failedBytes,
      failedPieces: this.#transfer.failedPieces,
      askedTwice: this.#ledger.reasons,
      unexplained: this.#ledger.unexplained,
      interestChanges: sum((it) => it.interestChanges),
      readers: this.#readers.map(({ report }) => report),
      peers,
    }
  }
}

function piecesOf(
  { pieces = 1 }: SimulatedPeerOptions,
  pieceCount: number,
  random: () => number,
): Bitfield {
  const bits = new Bitfield(pieceCount)
  if (typeof pieces !== 'number') for (const piece of pieces) bits.set(piece)
  else for (let piece = 0; piece < pieceCount; piece++) if (random() < pieces) bits.set(piece)
  return bits
}

/** The first piece from a random place on that it has not. */
function getPiece({ pieces, random, remote }: Known): void {
  if (pieces.isFull) return
  let piece = Math.floor(random() * pieces.length)
  while (pieces.has(piece)) piece = (piece + 1) % pieces.length
  pieces.set(piece)
  remote?.have(piece)
}
