import { randomBytes } from 'node:crypto'
import { createSocket, type Socket } from 'node:dgram'
import { IsthmusError } from '../errors.ts'
import type { EgressTarget } from '../net/egress-guard.ts'
import { deadline } from '../signal.ts'
import type { AnnounceCallOptions, AnnounceReply, AnnounceRequest } from './announce.ts'
import { CONNECTION_ID_MS, type UdpConnections } from './udp-connections.ts'
import {
  decodeAnswer,
  encodeAnnounce,
  encodeConnect,
  type UdpTrackerAnswer,
} from './udp-tracker-messages.ts'

export interface AnnounceUdpOptions extends AnnounceCallOptions {
  /** Where connection ids are kept for the next announce. @defaultValue kept nowhere */
  readonly connections?: UdpConnections | undefined
  /** Silence before a message is sent again; doubled every time. @defaultValue 15_000 (BEP 15) */
  readonly retransmitMs?: number | undefined
}

/**
 * Announces once to a UDP tracker (BEP 15; path and query of the URL by BEP 41), over the family of
 * the first address that its name has. Rejects with `ISTHMUS_TRACKER_FAILED` when the tracker
 * refuses or stays silent for `timeoutMs`, and with `ISTHMUS_EGRESS_DENIED`.
 */
export async function announceUdp(
  url: URL,
  request: AnnounceRequest,
  options: AnnounceUdpOptions,
): Promise<AnnounceReply> {
  const { guard, connections, timeoutMs = 30_000 } = options
  using limit = deadline(timeoutMs, () => silent(url), options.signal)
  const target = await guard.resolve(url, { schemes: ['udp'], signal: limit.signal })
  const exchange = new Exchange(target, options.retransmitMs ?? 15_000, limit.signal)
  try {
    await exchange.open()
    return await announceOver(exchange, request, connections)
  } finally {
    await exchange.close()
  }
}

async function announceOver(
  exchange: Exchange,
  request: AnnounceRequest,
  connections: UdpConnections | undefined,
): Promise<AnnounceReply> {
  const { url, address, port } = exchange.target
  const tracker = `${address} ${port}`
  let kept = connections?.take(tracker)
  for (;;) {
    const connectionId = kept ?? (await connect(exchange))
    if (kept === undefined) connections?.put(tracker, connectionId)
    const answer = await exchange.ask(
      'announced',
      (id) => encodeAnnounce(request, connectionId, id, urlDataOf(url)),
      // An id from an earlier socket may be worth nothing any more: that is not waited out.
      kept === undefined ? CONNECTION_ID_MS : exchange.retransmitMs,
    )
    if (answer?.kind === 'announced') return answer.reply
    connections?.drop(tracker)
    if (answer !== undefined && kept === undefined) throw refused(url, answer)
    kept = undefined
  }
}

async function connect(exchange: Exchange): Promise<bigint> {
  const answer = await exchange.ask('connected', encodeConnect)
  if (answer?.kind === 'connected') return answer.connectionId
  throw refused(exchange.target.url, answer)
}

function urlDataOf(url: URL): string {
  const urlData = `${url.pathname}${url.search}`
  return urlData === '/' ? '' : urlData
}

/** One socket to one tracker, and one question at a time. */
class Exchange {
  readonly target: EgressTarget
  readonly retransmitMs: number
  readonly #signal: AbortSignal
  readonly #socket: Socket
  #transactionId = 0
  #silences = 0
  #settle: ((answer: UdpTrackerAnswer) => void) | undefined
  #fail: (error: unknown) => void = () => {}

  constructor(target: EgressTarget, retransmitMs: number, signal: AbortSignal) {
    this.target = target
    this.retransmitMs = retransmitMs
    this.#signal = signal
    this.#socket = createSocket(target.family === 4 ? 'udp4' : 'udp6')
  }

  /** Connects the socket, so that only datagrams from the tracker's address and port come in. */
  async open(): Promise<void> {
    const { address, port, url } = this.target
    this.#socket.on('error', (cause) => this.#fail(unreachable(url, cause)))
    this.#socket.on('message', (datagram) => this.#receive(datagram))
    await this.#waitFor<void>((resolve) => {
      this.#socket.once('connect', resolve)
      this.#socket.connect(port, address)
    })
  }

  /**
   * Sends what `encode` makes, again and again, until it is answered as `expected` or refused; other
   * answers are ignored.
   * @returns undefined after `patienceMs` of silence.
   */
  ask(
    expected: UdpTrackerAnswer['kind'],
    encode: (transactionId: number) => Uint8Array,
    patienceMs = Number.POSITIVE_INFINITY,
  ): Promise<UdpTrackerAnswer | undefined> {
    this.#transactionId = randomBytes(4).readUInt32BE()
    const datagram = encode(this.#transactionId)
    let timer: NodeJS.Timeout | undefined
    let waitedMs = 0
    const answered = this.#waitFor<UdpTrackerAnswer | undefined>((resolve) => {
      this.#settle = (answer) => {
        if (answer.kind === expected || answer.kind === 'refused') resolve(answer)
      }
      const send = () => {
        const pauseMs = this.retransmitMs * 2 ** Math.min(this.#silences, 8)
        this.#socket.send(datagram, (cause) => {
          if (cause) this.#fail(unreachable(this.target.url, cause))
        })
        timer = setTimeout(() => {
          this.#silences++
          waitedMs += pauseMs
          if (waitedMs >= patienceMs) resolve(undefined)
          else send()
        }, pauseMs)
      }
      send()
    })
    return answered.finally(() => {
      clearTimeout(timer)
      this.#settle = undefined
    })
  }

  async close(): Promise<void> {
    this.#fail = () => {}
    await new Promise<void>((resolve) => this.#socket.close(resolve))
  }

  #receive(datagram: Uint8Array): void {
    const answer = decodeAnswer(datagram, this.#transactionId, this.target.family)
    if (answer === undefined || this.#settle === undefined) return
    this.#silences = 0
    this.#settle(answer)
  }

  #waitFor<T>(start: (resolve: (value: T) => void) => void): Promise<T> {
    const signal = this.#signal
    return new Promise<T>((resolve, reject) => {
      const onAbort = () => reject(signal.reason)
      const done = () => signal.removeEventListener('abort', onAbort)
      this.#fail = (error) => {
        done()
        reject(error)
      }
      if (signal.aborted) {
        reject(signal.reason)
        return
      }
      signal.addEventListener('abort', onAbort, { once: true })
      start((value) => {
        done()
        resolve(value)
      })
    })
  }
}

function refused(url: URL, answer: UdpTrackerAnswer | undefined): IsthmusError {
  const reason = answer?.kind === 'refused' ? answer.reason : ''
  return new IsthmusError('ISTHMUS_TRACKER_FAILED', `the tracker ${url.host} refused: ${reason}`)
}

function silent(url: URL): IsthmusError {
  return new IsthmusError(
    'ISTHMUS_TRACKER_FAILED',
    `the tracker ${url.host} did not answer in time`,
  )
}

function unreachable(url: URL, cause: unknown): IsthmusError {
  const text = `the tracker ${url.host} could not be reached`
  return new IsthmusError('ISTHMUS_TRACKER_FAILED', text, { cause })
}
