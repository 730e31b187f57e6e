import { randomBytes } from 'node:crypto'
import { setMaxListeners } from 'node:events'
import type DHT from 'bittorrent-dht'
import { LRUCache } from 'lru-cache'
import { IsthmusError, isIsthmusError } from '../errors.ts'
import type { EgressGuard } from '../net/egress-guard.ts'
import type { PeerAddress } from '../net/peer-address.ts'
import { abortable, deadline } from '../signal.ts'
import { DhtContacts } from './dht-contacts.ts'
import { createNodeId, isNodeIdOf, NODE_ID_BYTES } from './dht-node-id.ts'
import { DhtSocket } from './dht-socket.ts'
import {
  type DhtState,
  type DhtStateStore,
  encodeDhtState,
  MAX_SAVED_NODES,
  parseDhtState,
} from './dht-state.ts'
import { LookupSlots } from './lookup-slots.ts'
import type { Schedule } from './schedule.ts'

export interface DhtNodeOptions {
  readonly host: string
  readonly port: number
  /** `host:port` of nodes that are asked where no other is known. */
  readonly bootstrap: readonly string[]
  readonly guard: EgressGuard
  readonly nodeId: Uint8Array | undefined
  readonly publicIp: string | undefined
  readonly state: DhtStateStore | undefined
  readonly readOnly: boolean
  readonly enforceNodeIds: boolean
  readonly packetsPerSecond: number
  readonly sourcePacketsPerSecond: number
  readonly onWarning: (error: IsthmusError) => void
  readonly schedule: Schedule
  /** A clock in ms, as `Date.now`. */
  readonly now: () => number
}

const QUERIES_AT_ONCE = 64
const LOOKUPS_AT_ONCE = 8
const QUESTIONS_AT_ONCE = 128
const MAX_STORED_PEERS = 5000
const QUERY_MS = 2000
const STORE_MS = 5000
const MAINTENANCE_MS = 5 * 60_000
// BEP 5: a node that was silent for so long is questionable.
const QUESTIONABLE_MS = 15 * 60_000
// Announces are made again every 15 minutes or so; who missed two is gone.
const STORED_PEER_MS = 30 * 60_000

/**
 * One node of the DHT (BEP 5) on one IPv4 socket, from the first lookup or `listen` until `close`. It
 * looks for others where it knows none, keeps its routing table fresh, and saves it.
 */
export class DhtNode {
  readonly #options: DhtNodeOptions
  readonly #ended = new AbortController()
  readonly #contacts: DhtContacts
  readonly #slots = new LookupSlots(LOOKUPS_AT_ONCE)
  readonly #lookups = new Map<string, (peer: PeerAddress) => void>()
  /** Where others see us, by who said so. */
  readonly #seenAs = new LRUCache<string, string>({ max: 64 })
  #started: Promise<DHT> | undefined
  #dht: DHT | undefined
  #socket: DhtSocket | undefined
  #address: PeerAddress | undefined
  #saving: Promise<void> = Promise.resolve()
  #unbound = false
  #cancelMaintenance = () => {}
  #closing: Promise<void> | undefined

  constructor(options: DhtNodeOptions) {
    this.#options = options
    // Every query under way listens to it.
    setMaxListeners(0, this.#ended.signal)
    this.#contacts = new DhtContacts(options, this.#ended.signal)
  }

  /** In the routing table. */
  get nodes(): number {
    return this.#dht?.nodes.count() ?? 0
  }

  get address(): PeerAddress | undefined {
    return this.#address
  }

  /** What most nodes of at least three say. */
  get externalAddress(): string | undefined {
    const votes = new Map<string, number>()
    for (const address of this.#seenAs.values()) votes.set(address, (votes.get(address) ?? 0) + 1)
    const [first] = [...votes].sort(([, a], [, b]) => b - a)
    if (first === undefined || first[1] < 3 || first[1] * 2 <= this.#seenAs.size) return undefined
    return first[0]
  }

  /** Rejects with `ISTHMUS_LISTEN_FAILED`. Other nodes are looked for behind it. */
  async listen(): Promise<PeerAddress> {
    await this.#start()
    this.#background(this.#contacts.contact())
    return this.#address as PeerAddress
  }

  /** Somebody says that a DHT node is there: it is asked, unless too many others are waiting. */
  addNode(node: PeerAddress): void {
    this.#contacts.add(node)
  }

  /** @returns how many nodes answered */
  async lookup(
    infoHash: Uint8Array,
    onPeer: (peer: PeerAddress) => void,
    signal: AbortSignal,
  ): Promise<number> {
    const dht = await abortable(this.#start(), signal)
    const release = await this.#slots.take(signal)
    const key = hexOf(infoHash)
    let stop = () => {}
    try {
      await abortable(this.#contacts.contact(), signal)
      this.#lookups.set(key, onPeer)
      const asked = this.#until<number>((done) => {
        stop = dht.lookup(bufferOf(infoHash), (_, answers = 0) => done(answers))
      })
      return await abortable(asked, signal)
    } finally {
      stop()
      this.#lookups.delete(key)
      release()
    }
  }

  /**
   * Announces to the nodes that the last lookup, of at most five minutes ago, found.
   * @returns how many took it
   */
  async announce(infoHash: Uint8Array, port: number, signal: AbortSignal): Promise<number> {
    const dht = await abortable(this.#start(), signal)
    const taken = this.#until<number>((done) =>
      dht.announce(bufferOf(infoHash), port, (_, answers = 0) => done(answers)),
    )
    return abortable(taken, signal)
  }

  close(): Promise<void> {
    this.#closing ??= this.#close()
    return this.#closing
  }

  async #close(): Promise<void> {
    this.#ended.abort(closed())
    // Where it failed, nothing is left of it.
    await this.#started?.catch(() => {})
    this.#cancelMaintenance()
    await this.#contacts.settled()
    if (this.#dht !== undefined) await this.#save(this.#dht)
    this.#socket?.close()
    await new Promise<void>((resolve) => {
      if (this.#dht === undefined) resolve()
      else this.#dht.destroy(resolve)
    })
  }

  #start(): Promise<DHT> {
    if (this.#ended.signal.aborted) return Promise.reject(this.#ended.signal.reason)
    if (this.#started === undefined) {
      const starting = this.#open()
      this.#started = starting
      starting.catch((error: unknown) => {
        this.#started = undefined
        if (this.#unbound || !isIsthmusError(error, 'ISTHMUS_LISTEN_FAILED')) return
        this.#unbound = true
        this.#options.onWarning(error)
      })
    }
    return this.#started
  }

  async #open(): Promise<DHT> {
    const signal = this.#ended.signal
    signal.throwIfAborted()
    const [saved, library] = await Promise.all([this.#load(), import('bittorrent-dht')])
    signal.throwIfAborted()
    const { guard, host, port, now, readOnly, enforceNodeIds } = this.#options
    const { packetsPerSecond, sourcePacketsPerSecond } = this.#options
    const socket = new DhtSocket({
      policy: guard.policy,
      readOnly,
      enforceNodeIds,
      packetsPerSecond,
      sourcePacketsPerSecond,
      now,
      onQuery: (node, id) => this.#contacts.meet(node, id),
      onExternalAddress: (seenBy, address) => this.#seenAs.set(seenBy, address),
    })
    this.#address = await socket.bind(port, host)
    this.#socket = socket
    this.#unbound = false
    const dht = new library.default({
      nodeId: bufferOf(this.#nodeId(saved)),
      bootstrap: false,
      socket,
      concurrency: QUERIES_AT_ONCE,
      timeout: QUERY_MS,
      maxAge: STORED_PEER_MS,
      maxPeers: MAX_STORED_PEERS,
    })
    dht._interval.unref()
    dht._rpc.socket._timer.unref()
    dht.on('peer', (peer, infoHash) => this.#lookups.get(hexOf(infoHash))?.(peer))
    dht.on('error', (cause) => this.#warn('the DHT failed', cause))
    // Answers too late or out of order: nothing that anyone could do something about.
    dht.on('warning', () => {})
    this.#dht = dht
    this.#contacts.attach(dht)
    this.#contacts.remember(saved?.nodes ?? [])
    this.#maintainLater(dht)
    return dht
  }

  async #load(): Promise<DhtState | undefined> {
    try {
      const bytes = await this.#withStore((store) => store.load())
      return bytes === undefined ? undefined : parseDhtState(bytes)
    } catch (cause) {
      this.#warn('the saved state of the DHT could not be used', cause)
      return undefined
    }
  }

  #nodeId(saved: DhtState | undefined): Uint8Array {
    const { nodeId, publicIp } = this.#options
    if (nodeId !== undefined) return nodeId
    if (publicIp === undefined) return saved?.id ?? randomBytes(NODE_ID_BYTES)
    const fits = saved !== undefined && isNodeIdOf(saved.id, publicIp)
    return fits ? saved.id : createNodeId(publicIp)
  }

  #maintainLater(dht: DHT): void {
    this.#cancelMaintenance = this.#options.schedule(() => this.#maintain(dht), MAINTENANCE_MS)
  }

  #maintain(dht: DHT): void {
    this.#maintainLater(dht)
    this.#background(this.#save(dht))
    const before = this.#options.now() - QUESTIONABLE_MS
    const questionable = dht.nodes.toArray().filter(({ seen = 0 }) => seen < before)
    for (const { id, host, port } of questionable.slice(0, QUESTIONS_AT_ONCE)) {
      dht.removeNode(id)
      this.addNode({ host, port })
    }
    if (this.nodes === 0) this.#background(this.#contacts.contact())
    // BEP 5 refreshes bucket by bucket; over time, random targets come by all of them.
    else this.#contacts.refresh(randomBytes(NODE_ID_BYTES))
  }

  #save(dht: DHT): Promise<void> {
    this.#saving = this.#saving.then(async () => {
      const nodes = dht.nodes.toArray().sort((a, b) => (b.seen ?? 0) - (a.seen ?? 0))
      // What was saved before may be of use when we are back on a network.
      if (nodes.length === 0) return
      const contacts = nodes.slice(0, MAX_SAVED_NODES).map(({ host, port }) => ({ host, port }))
      this.#contacts.remember(contacts)
      try {
        const bytes = encodeDhtState({ id: dht.nodeId, nodes: contacts })
        await this.#withStore((store) => store.save(bytes))
      } catch (cause) {
        this.#warn('the state of the DHT could not be saved', cause)
      }
    })
    return this.#saving
  }

  /** A store that never answers holds nobody up for long. */
  async #withStore<T>(use: (store: DhtStateStore) => Promise<T>): Promise<T | undefined> {
    const { state } = this.#options
    if (state === undefined) return undefined
    const late = () => new IsthmusError('ISTHMUS_DISCOVERY_FAILED', 'the store did not answer')
    using limit = deadline(STORE_MS, late)
    return await abortable(use(state), limit.signal)
  }

  /** What the library calls back with; what it never calls back for ends with us. */
  #until<T>(start: (done: (value: T) => void) => void): Promise<T> {
    return abortable(new Promise<T>(start), this.#ended.signal)
  }

  /** Its failures are warned of where they happen; the end of the node is none. */
  #background(work: Promise<void>): void {
    work.catch(() => {})
  }

  #warn(text: string, cause: unknown): void {
    this.#options.onWarning(new IsthmusError('ISTHMUS_DISCOVERY_FAILED', text, { cause }))
  }
}

function closed(): IsthmusError {
  return new IsthmusError('ISTHMUS_CLIENT_CLOSED', 'the discovery is closed')
}

function hexOf(bytes: Uint8Array): string {
  return bufferOf(bytes).toString('hex')
}

function bufferOf(bytes: Uint8Array): Buffer {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
}
