import type { SimulatedTransfer } from './simulated-transfer.ts'
import type { SimulatedReadahead } from './swarm-parts.ts'
import type { ReaderReport, ReadReport } from './swarm-report.ts'
import type { SimulatedRead, SimulatedReaderOptions } from './swarm-scenario.ts'
import type { ScheduledEvent, VirtualClock } from './virtual-clock.ts'

export interface SimulatedReaderContext {
  readonly clock: VirtualClock
  readonly transfer: SimulatedTransfer
  readonly readaheadBytes: number
  createReadahead(pieceLength: number): SimulatedReadahead
}

/** Longest chunk that a reader takes at a time. */
const CHUNK_BYTES = 128 * 1024

/** Reads what its options say, as the reader of a torrent does: its window moves with every chunk. */
export class SimulatedReader {
  readonly #options: SimulatedReaderOptions
  readonly #context: SimulatedReaderContext
  readonly #reads: ReadReport[] = []
  #index = -1
  #at = 0
  #end = 0
  #report: ReadReport | undefined
  #readahead: SimulatedReadahead
  /** Since when it waits, while it does. */
  #waitsSince: number | undefined
  #next: ScheduledEvent | undefined
  #isOver = false

  constructor(options: SimulatedReaderOptions, context: SimulatedReaderContext) {
    this.#options = options
    this.#context = context
    this.#readahead = context.createReadahead(context.transfer.layout.pieceLength)
    this.#beginNext()
    for (const [index, { atMs }] of options.reads.entries()) {
      if (atMs !== undefined) context.clock.at(atMs, () => this.#begin(index))
    }
  }

  get report(): ReaderReport {
    return { reads: this.#reads }
  }

  get isOver(): boolean {
    return this.#isOver
  }

  /** A piece came, or never will. */
  notify(piece: number): void {
    if (this.#waitsSince === undefined) return
    if (piece === this.#context.transfer.layout.pieceAt(this.#at)) this.#goOn(0)
  }

  #beginNext(): void {
    const next = this.#options.reads[this.#index + 1]
    if (next === undefined) {
      this.#isOver = true
    } else if (next.atMs === undefined) {
      this.#context.clock.after(0, () => this.#begin(this.#index + 1))
    }
  }

  #begin(index: number): void {
    const { start, end } = this.#options.reads[index] as SimulatedRead
    const { transfer, clock, createReadahead } = this.#context
    this.#leave('left')
    this.#index = index
    this.#readahead = createReadahead(transfer.layout.pieceLength)
    this.#at = start
    this.#end = end ?? transfer.layout.length
    this.#report = {
      start,
      startedAtMs: clock.now,
      firstPieceMs: undefined,
      stalls: [],
      bytes: 0,
      endedAtMs: undefined,
      outcome: 'waiting',
    }
    this.#reads.push(this.#report)
    this.#waitsSince = clock.now
    this.#read()
  }

  #leave(outcome: ReadReport['outcome']): void {
    this.#next?.cancel()
    this.#next = undefined
    this.#waitsSince = undefined
    const report = this.#report
    if (report === undefined) return
    report.outcome = outcome
    report.endedAtMs = this.#context.clock.now
    this.#report = undefined
    this.#context.transfer.removeWindow(this)
  }

  #goOn(ms: number): void {
    this.#next?.cancel()
    this.#next = this.#context.clock.after(ms, () => {
      this.#next = undefined
      this.#read()
    })
  }

  #read(): void {
    const { transfer, readaheadBytes, clock } = this.#context
    const { layout } = transfer
    const { bytesPerSecond = Number.POSITIVE_INFINITY } = this.#options
    while (this.#at < this.#end) {
      const end = Math.min(this.#end, this.#at + this.#readahead.bytes(readaheadBytes))
      transfer.setWindow(this, layout.piecesOf({ start: this.#at, end }))
      const piece = layout.pieceAt(this.#at)
      if (transfer.isPoisoned(piece)) return this.#over('poisoned')
      if (!transfer.verified.has(piece)) {
        this.#waitsSince ??= clock.now
        return
      }
      this.#waited(piece)
      const bytes = this.#chunk()
      this.#at += bytes
      this.#readahead.read(bytes)
      const ms = (bytes / bytesPerSecond) * 1000
      if (ms > 0) return this.#goOn(ms)
    }
    this.#over('done')
  }

  #over(outcome: ReadReport['outcome']): void {
    this.#leave(outcome)
    this.#beginNext()
  }

  #waited(piece: number): void {
    const since = this.#waitsSince
    const report = this.#report
    this.#waitsSince = undefined
    if (since === undefined || report === undefined) return
    const ms = this.#context.clock.now - since
    if (report.firstPieceMs === undefined) report.firstPieceMs = ms
    else report.stalls.push({ piece, atMs: since, ms })
  }

  /** As much as is here, up to a chunk. */
  #chunk(): number {
    const { layout, verified } = this.#context.transfer
    const most = Math.min(this.#end, this.#at + CHUNK_BYTES)
    let stop = this.#at
    for (let piece = layout.pieceAt(this.#at); stop < most && verified.has(piece); piece++) {
      stop = Math.min(most, layout.pieceRange(piece).end)
    }
    const bytes = stop - this.#at
    if (this.#report !== undefined) this.#report.bytes += bytes
    return bytes
  }
}
