import { createSocket, type RemoteInfo } from 'node:dgram'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import { type AddressInfo, isIPv6 } from 'node:net'

/** One announce as the tracker understood it. */
export interface SeenAnnounce {
  readonly transport: 'http' | 'udp'
  /** 40 hexadecimal digits. */
  readonly infoHash: string
  readonly peerId: string
  /** Where the announcing peer came from, and the port that it told. */
  readonly host: string
  readonly port: number
  readonly event: 'started' | 'update' | 'completed' | 'stopped'
  readonly uploaded: number
  readonly downloaded: number
  readonly left: number
  readonly numWant: number
  readonly key: string
  readonly trackerId: string | undefined
  /** Path and query: of the request, or as the options of a UDP announce give them. */
  readonly target: string
  readonly userAgent: string | undefined
}

/** What it does to an announce instead of answering it properly. */
export type Misbehaviour =
  | { readonly kind: 'delay'; readonly ms: number }
  | { readonly kind: 'silence' }
  | { readonly kind: 'body'; readonly body: string | Uint8Array; readonly status?: number }
  | { readonly kind: 'redirect'; readonly location: string }
  | { readonly kind: 'refuse'; readonly reason: string }
  /** UDP: the next `count` datagrams are lost, then it behaves. */
  | { readonly kind: 'lose'; readonly count: number }
  /** UDP: these bytes, behind the right action and transaction id. */
  | { readonly kind: 'datagram'; readonly action: number; readonly rest: Uint8Array }
  /** UDP: answers others would give come first: wrong transaction, too short, unknown action. */
  | { readonly kind: 'noise' }

export interface TrackerOptions {
  /** A loopback address. @defaultValue '127.0.0.1' */
  readonly host?: string
  /** In seconds. @defaultValue 1800 */
  readonly interval?: number
  readonly minInterval?: number
  /** Peers as dictionaries instead of packed. @defaultValue false */
  readonly dictionaries?: boolean
  /** Further fields of the HTTP reply. */
  readonly fields?: Readonly<Record<string, string | number | Uint8Array>>
}

export interface TestTracker {
  readonly httpUrl: string
  readonly udpUrl: string
  /** Every announce that came in whole, in order, also those that it misbehaved to. */
  readonly announces: readonly SeenAnnounce[]
  /** UDP connects that came in. */
  readonly connects: number
  /** Who is in the swarm, from both transports. */
  peersOf(infoHash: string): readonly { readonly host: string; readonly port: number }[]
  /** From the next announce on; without argument it behaves. */
  misbehave(how?: Misbehaviour): void
  /** Resolves once `count` announces have come in. */
  seen(count: number): Promise<void>
  close(): Promise<void>
}

/** A tracker for tests: HTTP and UDP, in memory, on loopback, one swarm for both. */
export async function startTracker(options: TrackerOptions = {}): Promise<TestTracker> {
  const tracker = new LoopbackTracker(options)
  await tracker.listen()
  return tracker
}

const udpEvents = ['update', 'completed', 'started', 'stopped'] as const

class LoopbackTracker implements TestTracker {
  readonly announces: SeenAnnounce[] = []
  connects = 0
  readonly #host: string
  readonly #options: TrackerOptions
  readonly #swarms = new Map<string, Map<string, { host: string; port: number; left: number }>>()
  readonly #server = createServer((request, response) => this.#onRequest(request, response))
  readonly #socket: ReturnType<typeof createSocket>
  readonly #timers = new Set<NodeJS.Timeout>()
  readonly #connectionIds = new Map<bigint, string>()
  #nextConnectionId = 0x1234_5678_9abc_0000n
  #how: Misbehaviour | undefined
  #lost = 0
  #waiting: { count: number; resolve: () => void }[] = []

  constructor(options: TrackerOptions) {
    this.#options = options
    this.#host = options.host ?? '127.0.0.1'
    this.#socket = createSocket(isIPv6(this.#host) ? 'udp6' : 'udp4')
    this.#socket.on('message', (datagram, from) => this.#onDatagram(datagram, from))
  }

  async listen(): Promise<void> {
    await new Promise<void>((resolve, reject) => {
      this.#server.once('error', reject)
      this.#server.listen(0, this.#host, resolve)
    })
    await new Promise<void>((resolve) => this.#socket.bind(0, this.#host, resolve))
  }

  get httpUrl(): string {
    return `http://${this.#literal}:${(this.#server.address() as AddressInfo).port}/announce`
  }

  get udpUrl(): string {
    return `udp://${this.#literal}:${this.#socket.address().port}/announce`
  }

  get #literal(): string {
    return isIPv6(this.#host) ? `[${this.#host}]` : this.#host
  }

  peersOf(infoHash: string): { host: string; port: number }[] {
    const peers = this.#swarms.get(infoHash.toLowerCase())?.values() ?? []
    return Array.from(peers, ({ host, port }) => ({ host, port }))
  }

  misbehave(how?: Misbehaviour): void {
    this.#how = how
    this.#lost = how?.kind === 'lose' ? how.count : 0
  }

  seen(count: number): Promise<void> {
    if (this.announces.length >= count) return Promise.resolve()
    return new Promise((resolve) => this.#waiting.push({ count, resolve }))
  }

  async close(): Promise<void> {
    for (const timer of this.#timers) clearTimeout(timer)
    this.#server.closeAllConnections()
    await new Promise((resolve) => this.#server.close(resolve))
    await new Promise<void>((resolve) => this.#socket.close(resolve))
  }

  #onRequest(request: IncomingMessage, response: ServerResponse): void {
    const announce = readHttpAnnounce(request)
    if (announce === undefined) {
      response.writeHead(400).end(bencode({ 'failure reason': 'Missing info hash' }))
      return
    }
    this.#record(announce)
    const how = this.#how
    if (how?.kind === 'silence') return
    if (how?.kind === 'redirect') response.writeHead(302, { location: how.location }).end()
    else if (how?.kind === 'body') response.writeHead(how.status ?? 200).end(how.body)
    else if (how?.kind === 'refuse') response.end(bencode({ 'failure reason': how.reason }))
    else this.#later(how, () => response.end(this.#httpReply(announce)))
  }

  #httpReply(announce: SeenAnnounce): Uint8Array {
    const { interval = 1800, minInterval, dictionaries = false, fields = {} } = this.#options
    const peers = this.#join(announce)
    const seeders = this.#seeders(announce.infoHash)
    return bencode({
      ...fields,
      interval,
      ...(minInterval === undefined ? {} : { 'min interval': minInterval }),
      complete: seeders,
      incomplete: this.peersOf(announce.infoHash).length - seeders,
      peers: dictionaries
        ? peers.map(({ host, port }) => ({ ip: host, port }))
        : packPeers(peers.filter(({ host }) => !isIPv6(host))),
      ...(dictionaries ? {} : { peers6: packPeers(peers.filter(({ host }) => isIPv6(host))) }),
    })
  }

  #onDatagram(datagram: Buffer, from: RemoteInfo): void {
    if (this.#lost > 0) {
      this.#lost--
      return
    }
    const action = datagram.length >= 16 ? datagram.readUInt32BE(8) : -1
    const transaction = datagram.length >= 16 ? datagram.readUInt32BE(12) : 0
    const answer = (code: number, rest: Uint8Array) => {
      const header = Buffer.alloc(8)
      header.writeUInt32BE(code, 0)
      header.writeUInt32BE(transaction, 4)
      this.#socket.send(Buffer.concat([header, rest]), from.port, from.address, () => {})
    }
    if (action === 0 && datagram.readBigUInt64BE(0) === 0x41727101980n) {
      this.#answerConnect(from, answer)
    } else if (action === 1 && datagram.length >= 98) {
      this.#answerAnnounce(datagram, from, answer)
    }
  }

  #answerConnect(from: RemoteInfo, answer: (code: number, rest: Uint8Array) => void): void {
    this.connects++
    if (this.#how?.kind === 'silence') return
    const id = ++this.#nextConnectionId
    this.#connectionIds.set(id, from.address)
    const rest = Buffer.alloc(8)
    rest.writeBigUInt64BE(id)
    if (this.#how?.kind === 'noise') this.#makeNoise(from)
    answer(0, rest)
  }

  #answerAnnounce(
    datagram: Buffer,
    from: RemoteInfo,
    answer: (code: number, rest: Uint8Array) => void,
  ): void {
    if (this.#connectionIds.get(datagram.readBigUInt64BE(0)) !== from.address) {
      answer(3, Buffer.from('unknown connection id'))
      return
    }
    const announce = readUdpAnnounce(datagram, from)
    this.#record(announce)
    const how = this.#how
    if (how?.kind === 'silence') return
    if (how?.kind === 'refuse') answer(3, Buffer.from(how.reason))
    else if (how?.kind === 'datagram') answer(how.action, how.rest)
    else {
      if (how?.kind === 'noise') this.#makeNoise(from)
      this.#later(how, () => answer(1, this.#udpReply(announce)))
    }
  }

  #udpReply(announce: SeenAnnounce): Uint8Array {
    const peers = this.#join(announce)
    const seeders = this.#seeders(announce.infoHash)
    const head = Buffer.alloc(12)
    head.writeUInt32BE(this.#options.interval ?? 1800, 0)
    head.writeUInt32BE(this.peersOf(announce.infoHash).length - seeders, 4)
    head.writeUInt32BE(seeders, 8)
    const sameFamily = peers.filter(({ host }) => isIPv6(host) === isIPv6(announce.host))
    return Buffer.concat([head, packPeers(sameFamily)])
  }

  #makeNoise(from: RemoteInfo): void {
    const wrong = ['', '00', '0000000100000000', `00000000${'00'.repeat(12)}`, 'ff'.repeat(40)]
    for (const hex of wrong) {
      this.#socket.send(Buffer.from(hex, 'hex'), from.port, from.address, () => {})
    }
  }

  #record(announce: SeenAnnounce): void {
    this.announces.push(announce)
    this.#waiting = this.#waiting.filter(({ count, resolve }) => {
      if (this.announces.length < count) return true
      resolve()
      return false
    })
  }

  /** Everybody but whoever asks. */
  #join({ infoHash, host, port, event, left, numWant }: SeenAnnounce) {
    const swarm = this.#swarms.get(infoHash) ?? new Map()
    this.#swarms.set(infoHash, swarm)
    const key = `${host} ${port}`
    if (event === 'stopped') swarm.delete(key)
    else swarm.set(key, { host, port, left })
    const others = Array.from(swarm).filter(([other]) => other !== key)
    return others.slice(0, numWant < 0 ? 50 : numWant).map(([, peer]) => peer)
  }

  #seeders(infoHash: string): number {
    return Array.from(this.#swarms.get(infoHash)?.values() ?? []).filter((p) => p.left === 0).length
  }

  #later(how: Misbehaviour | undefined, run: () => void): void {
    if (how?.kind !== 'delay') {
      run()
      return
    }
    const timer = setTimeout(() => {
      this.#timers.delete(timer)
      run()
    }, how.ms)
    this.#timers.add(timer)
  }
}

function readHttpAnnounce(request: IncomingMessage): SeenAnnounce | undefined {
  const target = request.url ?? ''
  // Percent-encoded raw bytes: not UTF-8, so URLSearchParams would not keep them.
  const fields = new Map<string, Buffer>()
  for (const pair of target.slice(target.indexOf('?') + 1).split('&')) {
    const [name = '', value = ''] = pair.split('=')
    fields.set(name, Buffer.from(unescape(value), 'latin1'))
  }
  const text = (name: string) => fields.get(name)?.toString('latin1')
  if (fields.get('info_hash')?.length !== 20 || fields.get('peer_id')?.length !== 20)
    return undefined
  const event = text('event')
  return {
    transport: 'http',
    infoHash: fields.get('info_hash')?.toString('hex') ?? '',
    peerId: text('peer_id') ?? '',
    host: request.socket.remoteAddress ?? '',
    port: Number(text('port')),
    event: event === 'started' || event === 'completed' || event === 'stopped' ? event : 'update',
    uploaded: Number(text('uploaded')),
    downloaded: Number(text('downloaded')),
    left: Number(text('left')),
    numWant: Number(text('numwant') ?? -1),
    key: text('key') ?? '',
    trackerId: text('trackerid'),
    target,
    userAgent: request.headers['user-agent'],
  }
}

function readUdpAnnounce(datagram: Buffer, from: RemoteInfo): SeenAnnounce {
  return {
    transport: 'udp',
    infoHash: datagram.toString('hex', 16, 36),
    peerId: datagram.toString('latin1', 36, 56),
    host: from.address,
    port: datagram.readUInt16BE(96),
    event: udpEvents[datagram.readUInt32BE(80)] ?? 'update',
    downloaded: Number(datagram.readBigUInt64BE(56)),
    left: Number(datagram.readBigUInt64BE(64)),
    uploaded: Number(datagram.readBigUInt64BE(72)),
    key: datagram.toString('hex', 88, 92),
    numWant: datagram.readInt32BE(92),
    trackerId: undefined,
    target: readUrlData(datagram.subarray(98)),
    userAgent: undefined,
  }
}

/** BEP 41. */
function readUrlData(options: Buffer): string {
  let text = ''
  for (let at = 0; at < options.length; ) {
    const kind = options[at]
    if (kind === 0) break
    if (kind === 1) {
      at++
      continue
    }
    const length = options[at + 1] ?? 0
    if (kind === 2) text += options.toString('latin1', at + 2, at + 2 + length)
    at += 2 + length
  }
  return text
}

function packPeers(peers: readonly { host: string; port: number }[]): Uint8Array {
  return Buffer.concat(
    peers.map(({ host, port }) =>
      Buffer.concat([packHost(host), Uint8Array.of(port >> 8, port & 0xff)]),
    ),
  )
}

function packHost(host: string): Uint8Array {
  if (!isIPv6(host)) return Uint8Array.from(host.split('.'), Number)
  // Loopback is the only one that comes here.
  return Uint8Array.from({ length: 16 }, (_, index) => (index === 15 ? 1 : 0))
}

type Bencodable =
  | number
  | string
  | Uint8Array
  | readonly Bencodable[]
  | { readonly [key: string]: Bencodable }

/** Its own small encoder, so that core's is not checked against itself. */
export function bencode(value: Bencodable): Buffer {
  if (typeof value === 'number') return Buffer.from(`i${value}e`)
  if (typeof value === 'string') return bencode(Buffer.from(value))
  if (value instanceof Uint8Array) return Buffer.concat([Buffer.from(`${value.length}:`), value])
  if (Array.isArray(value)) {
    return Buffer.concat([Buffer.from('l'), ...value.map(bencode), Buffer.from('e')])
  }
  const entries = Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1))
  const parts = entries.flatMap(([key, item]) => [bencode(key), bencode(item)])
  return Buffer.concat([Buffer.from('d'), ...parts, Buffer.from('e')])
}
