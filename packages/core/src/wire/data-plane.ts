import type { ByteRange } from '../byte-source.ts'
import { BLOCK_LENGTH } from '../metainfo/layout.ts'
import { type BlockSink, protocolError, readUint32 } from './frames.ts'
import { MessageId } from './message-id.ts'
import type { Outbox } from './outbox.ts'

/** One block on the wire: which piece, where in it, how many bytes. */
export interface BlockRequest {
  readonly piece: number
  readonly begin: number
  readonly length: number
}

/** Decides about blocks that arrive. */
export interface BlockHandler {
  /** A block that we asked for begins to arrive: where to put it, or undefined when nobody wants it now. */
  onBlockStart(block: BlockRequest): BlockSink | undefined
  /** It is complete. `waitedMs` is the time since it was asked for. */
  onBlock(block: BlockRequest, waitedMs: number): void
  /** The peer will not send it (BEP 6, or a choke without the fast extension). */
  onReject(block: BlockRequest): void
}

/** Where the blocks that a peer asks for come from. */
export interface BlockProvider {
  /** The piece is verified and may leave; its bytes, else undefined. */
  pieceRange(piece: number): ByteRange | undefined
  /** Bytes that may leave now; where it is none, `pump` is called once some may. @defaultValue any */
  allowance?(): number
  /** Verified bytes of the torrent. Rejects when they are not to be had (any more). */
  read(span: ByteRange): Promise<Uint8Array>
}

export interface DataPlaneOptions {
  readonly outbox: Outbox
  readonly handler: BlockHandler
  /** Requests that the peer may have waiting; one more is rejected. */
  readonly requestsAtMost: number
  /** Bytes that may wait in the socket before we read no more blocks for it. */
  readonly sendBytesAtMost: number
  /** Whether rejects may be sent (BEP 6). */
  readonly hasFast: () => boolean
}

interface Outstanding extends BlockRequest {
  readonly sentAt: number
}

// One storage read answers many requests: peers ask for the blocks of a piece in order.
const READ_BYTES = 256 * 1024
/** BEP 3 says 16 KiB; up to twice as much is served, as some clients ask for it. */
const REQUEST_BYTES = 32 * 1024
/** Of a piece of 512 MiB. */
const BLOCKS_AT_MOST = 0x8000

/** What may wait besides the blocks: a run of them, and far more rejects than an honest peer can bring about. */
const UNREAD_BYTES = 1024 * 1024
/** Blocks that nobody asked for, beyond those that a cancel may have crossed: more are a flood. */
const UNASKED_AT_MOST = 100

/** Requests, blocks, cancels and rejects of one connection, both ways. */
export class DataPlane {
  readonly #options: DataPlaneOptions
  readonly #asked = new Map<number, Outstanding>()
  /** The one of them whose block is arriving. */
  #arriving: Outstanding | undefined
  #blocksPerPiece = BLOCKS_AT_MOST
  /** Cancels that no answer came to yet, by block: with the fast extension one comes to each (BEP 6). */
  readonly #cancels = new Map<number, number>()
  /** Without it, how many blocks may come that nobody waits for any more. */
  #cancelled = 0
  #unasked = 0
  #provider: BlockProvider | undefined
  #queue: BlockRequest[] = []
  #serving = false
  #choking = true
  #chokes = 0
  #closed = false
  /** Payload bytes of blocks that came, asked for or not. */
  downloaded = 0
  uploaded = 0

  constructor(options: DataPlaneOptions) {
    this.#options = options
  }

  /** How many of our requests are unanswered. */
  get outstanding(): number {
    return this.#asked.size
  }

  /** When the oldest unanswered request was sent (`performance.now()`), or undefined. */
  get oldestRequestAt(): number | undefined {
    for (const request of this.#asked.values()) return request.sentAt
    return undefined
  }

  /** Blocks that we asked for and still wait for. */
  requests(): BlockRequest[] {
    return [...this.#asked.values()]
  }

  /** Before the first request: how long pieces are. */
  setPieceLength(pieceLength: number): void {
    this.#blocksPerPiece = Math.ceil(pieceLength / BLOCK_LENGTH)
  }

  request(block: BlockRequest, now: number): void {
    const { piece, begin, length } = block
    this.#asked.set(this.#keyOf(piece, begin), { piece, begin, length, sentAt: now })
    this.#options.outbox.pushNumbers(MessageId.request, piece, begin, length)
  }

  /** The answer, if it was under way already, is dropped when it comes. */
  cancel(block: BlockRequest): void {
    const key = this.#keyOf(block.piece, block.begin)
    if (!this.#asked.delete(key)) return
    if (this.#options.hasFast()) this.#cancels.set(key, (this.#cancels.get(key) ?? 0) + 1)
    else this.#cancelled++
    this.#options.outbox.pushNumbers(MessageId.cancel, block.piece, block.begin, block.length)
  }

  /** A choke without the fast extension: all that we asked for is forgotten by the peer. */
  dropRequests(): void {
    const dropped = this.requests()
    this.#asked.clear()
    for (const block of dropped) this.#options.handler.onReject(block)
  }

  onBlockStart(piece: number, begin: number, length: number): BlockSink | undefined {
    const asked = this.#find(piece, begin, length)
    this.#arriving = asked
    if (asked === undefined) {
      if (this.#isAnswered(this.#keyOf(piece, begin))) return undefined
      if (this.#cancelled > 0) this.#cancelled--
      else if (++this.#unasked > UNASKED_AT_MOST) {
        throw protocolError('blocks that nobody asked for')
      }
      return undefined
    }
    return this.#options.handler.onBlockStart(asked)
  }

  onBlockEnd(piece: number, begin: number, length: number, now: number): void {
    this.downloaded += length
    const asked = this.#find(piece, begin, length)
    // Asked for, or asked for again, while it arrived: it went nowhere, and its answer is yet to come.
    if (asked === undefined || asked !== this.#arriving) return
    this.#asked.delete(this.#keyOf(piece, begin))
    this.#options.handler.onBlock(asked, now - asked.sentAt)
  }

  onReject(payload: Uint8Array): void {
    const { piece, begin, length } = blockOf(payload)
    // The answer to a cancel says nothing about a request that came after it.
    if (this.#isAnswered(this.#keyOf(piece, begin))) return
    const asked = this.#find(piece, begin, length)
    if (asked === undefined) return
    this.#asked.delete(this.#keyOf(piece, begin))
    this.#options.handler.onReject(asked)
  }

  /** Whether a cancel of this block was waiting for its answer, which this is. */
  #isAnswered(key: number): boolean {
    const waiting = this.#cancels.get(key)
    if (waiting === undefined) return false
    if (waiting > 1) this.#cancels.set(key, waiting - 1)
    else this.#cancels.delete(key)
    return true
  }

  /** From now on the peer's requests can be answered. */
  serve(provider: BlockProvider): void {
    this.#provider = provider
  }

  /** The peer is choked or not; choking gives all its requests back. */
  setChoking(choking: boolean): void {
    this.#choking = choking
    if (!choking) return
    this.#chokes++
    for (const block of this.#queue.splice(0)) this.#reject(block)
  }

  onRequest(payload: Uint8Array): void {
    const block = blockOf(payload)
    const range = this.#provider?.pieceRange(block.piece)
    const fits = range !== undefined && block.begin + block.length <= range.end - range.start
    if (block.length === 0 || block.length > REQUEST_BYTES) {
      throw protocolError(`a request of ${block.length} bytes`)
    }
    const { outbox, requestsAtMost, sendBytesAtMost } = this.#options
    if (outbox.pendingBytes > sendBytesAtMost + UNREAD_BYTES) {
      throw protocolError('requests without reading what they bring')
    }
    if (this.#choking || !fits || this.#queue.length >= requestsAtMost) {
      return this.#reject(block)
    }
    this.#queue.push(block)
    this.pump()
  }

  onCancel(payload: Uint8Array): void {
    const { piece, begin, length } = blockOf(payload)
    const index = this.#queue.findIndex(
      (block) => block.piece === piece && block.begin === begin && block.length === length,
    )
    if (index === -1) return
    const [block] = this.#queue.splice(index, 1)
    if (block !== undefined) this.#reject(block)
  }

  /** Answers what waits, as far as the socket has room. Called again when it drained. */
  pump(): void {
    if (this.#serving || this.#closed || this.#queue.length === 0) return
    if (this.#options.outbox.pendingBytes >= this.#options.sendBytesAtMost) return
    this.#serving = true
    // Requests of one turn are looked at together, so that one read answers them.
    setImmediate(() => void this.#serveRun())
  }

  close(): void {
    this.#closed = true
    this.#queue = []
    this.#asked.clear()
  }

  async #serveRun(): Promise<void> {
    const atMost = this.#provider?.allowance?.() ?? READ_BYTES
    this.#serving = atMost > 0
    if (!this.#serving) return
    const run = this.#takeRun(Math.min(atMost, READ_BYTES))
    const chokes = this.#chokes
    const first = run[0]
    const provider = this.#provider
    if (first !== undefined && provider !== undefined) {
      const bytes = await readRun(provider, run)
      // A choke in between has told the peer already that nothing more comes.
      if (!this.#closed) this.#answer(run, chokes === this.#chokes ? bytes : undefined)
    }
    this.#serving = false
    this.pump()
  }

  #answer(run: readonly BlockRequest[], bytes: Uint8Array | undefined): void {
    const begin = run[0]?.begin ?? 0
    for (const block of run) {
      if (bytes === undefined) {
        this.#reject(block)
        continue
      }
      const at = block.begin - begin
      this.#options.outbox.pushBlock(
        block.piece,
        block.begin,
        bytes.subarray(at, at + block.length),
      )
      this.uploaded += block.length
    }
  }

  /** Takes the requests at the head of the queue that lie one behind the other in one piece. */
  #takeRun(atMost: number): BlockRequest[] {
    const first = this.#queue[0]
    if (first === undefined) return []
    let end = first.begin + first.length
    let count = 1
    for (; count < this.#queue.length; count++) {
      const next = this.#queue[count] as BlockRequest
      const follows = next.piece === first.piece && next.begin === end
      if (!follows || end + next.length - first.begin > atMost) break
      end += next.length
    }
    return this.#queue.splice(0, count)
  }

  /** What a peer names need not begin where our blocks do, so the key alone proves nothing. */
  #find(piece: number, begin: number, length: number): Outstanding | undefined {
    const asked = this.#asked.get(this.#keyOf(piece, begin))
    if (asked?.piece === piece && asked.begin === begin && asked.length === length) return asked
    return undefined
  }

  // Small integers wherever that is possible: they are much cheaper as keys than other numbers.
  #keyOf(piece: number, begin: number): number {
    return piece * this.#blocksPerPiece + (begin >>> 14)
  }

  #reject({ piece, begin, length }: BlockRequest): void {
    if (this.#options.hasFast()) {
      this.#options.outbox.pushNumbers(MessageId.reject, piece, begin, length)
    }
  }
}

async function readRun(
  provider: BlockProvider,
  run: readonly BlockRequest[],
): Promise<Uint8Array | undefined> {
  const first = run[0] as BlockRequest
  const last = run.at(-1) as BlockRequest
  try {
    const range = provider.pieceRange(first.piece)
    if (range === undefined) return undefined
    const start = range.start + first.begin
    return await provider.read({ start, end: range.start + last.begin + last.length })
  } catch {
    // The provider has reported why; to the peer it is a block that we do not have.
    return undefined
  }
}

function blockOf(payload: Uint8Array): BlockRequest {
  return {
    piece: readUint32(payload, 0),
    begin: readUint32(payload, 4),
    length: readUint32(payload, 8),
  }
}
