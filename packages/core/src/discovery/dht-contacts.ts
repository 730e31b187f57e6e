import type DHT from 'bittorrent-dht'
import { IsthmusError } from '../errors.ts'
import type { EgressGuard } from '../net/egress-guard.ts'
import { parseIpAddress } from '../net/ip-address.ts'
import { formatPeerAddress, type PeerAddress } from '../net/peer-address.ts'
import { abortable } from '../signal.ts'
import { TokenBucket } from './packet-rates.ts'

export interface DhtContactsOptions {
  readonly guard: EgressGuard
  /** `host:port` of nodes that are asked where no other is known. */
  readonly bootstrap: readonly string[]
  /** A clock in ms. */
  readonly now: () => number
  readonly onWarning: (error: IsthmusError) => void
}

const PINGS_AT_ONCE = 16
const INTRODUCTIONS_PER_SECOND = 10
const MAX_CANDIDATES = 256
const ROUTER_ADDRESSES = 2
const CONTACT_PAUSE_MS = 10_000

/**
 * How a node comes to know others: those that it heard of are pinged, a few at once, and where none is
 * known, those that it remembers, then the bootstrap nodes.
 */
export class DhtContacts {
  readonly #options: DhtContactsOptions
  readonly #signal: AbortSignal
  readonly #introductions: TokenBucket
  /** Said to be nodes, and not asked yet. */
  readonly #candidates = new Map<string, PeerAddress>()
  #dht: DHT | undefined
  #remembered: readonly PeerAddress[] = []
  #contacting: Promise<void> | undefined
  /** Resolves when a node answers a ping. */
  #arrival: Promise<void> | undefined
  #arrived = () => {}
  #contactedAt = Number.NEGATIVE_INFINITY
  #pings = 0
  #isolated = false

  /** @param signal - ends everything that is under way */
  constructor(options: DhtContactsOptions, signal: AbortSignal) {
    this.#options = options
    this.#signal = signal
    this.#introductions = new TokenBucket(INTRODUCTIONS_PER_SECOND, options.now)
  }

  /** From now on there is somebody to ask with. */
  attach(dht: DHT): void {
    this.#dht = dht
  }

  /** Nodes of an earlier time, for when none is known any more. */
  remember(nodes: readonly PeerAddress[]): void {
    this.#remembered = nodes
  }

  /** It is asked, unless the guard denies it or too many others are waiting. */
  add(node: PeerAddress): void {
    if (this.#signal.aborted || this.#candidates.size >= MAX_CANDIDATES) return
    if (!(node.port >= 1 && node.port <= 65_535) || parseIpAddress(node.host)?.length !== 4) return
    if (!this.#options.guard.allowsPeer(node)) return
    this.#candidates.set(formatPeerAddress(node), node)
    if (this.#dht !== undefined) this.#askCandidates(this.#dht)
  }

  /** Asks nodes closer and closer to `target`, so that those on the way get known. */
  refresh(target: Uint8Array): void {
    const dht = this.#dht
    if (dht === undefined) return
    const wanted = Buffer.from(target)
    dht._rpc.populate(wanted, { q: 'find_node', a: { id: dht.nodeId, target: wanted } }, () => {})
  }

  /** BEP 5: who asks us something may be worth knowing; that it is where it says shows when it answers. */
  meet(node: PeerAddress, id: Uint8Array): void {
    if (this.#dht === undefined || this.#dht.nodes.get(id) !== null) return
    if (this.#introductions.take()) this.add(node)
  }

  /** Resolves once a node is known, or nobody answered. */
  contact(): Promise<void> {
    const dht = this.#dht
    if (dht === undefined || dht.nodes.count() > 0) return Promise.resolve()
    this.#contacting ??= this.#findNodes(dht).finally(() => {
      this.#contacting = undefined
    })
    this.#arrival ??= new Promise((resolve) => {
      this.#arrived = resolve
    })
    return Promise.race([this.#contacting, this.#arrival])
  }

  /** Resolves once `contact` is not under way any more. */
  async settled(): Promise<void> {
    await this.#contacting
  }

  async #findNodes(dht: DHT): Promise<void> {
    const { now, bootstrap } = this.#options
    if (this.#candidates.size === 0 && now() - this.#contactedAt < CONTACT_PAUSE_MS) return
    this.#contactedAt = now()
    const near = [...this.#takeCandidates(PINGS_AT_ONCE), ...this.#remembered]
    const [first, others] = [near.slice(0, PINGS_AT_ONCE), near.slice(PINGS_AT_ONCE)]
    // Where none of the first answers, the others are first the next time.
    this.#remembered = [...others, ...first]
    const known = await this.#anyAnswers(dht, first)
    const failures: unknown[] = []
    const found = known || (await this.#anyAnswers(dht, await this.#routers(failures)))
    if (this.#signal.aborted) return
    if (found) {
      this.#isolated = false
      for (const node of others) this.add(node)
      this.refresh(dht.nodeId)
    } else if (near.length + bootstrap.length > 0) {
      this.#lost(failures[0])
    }
  }

  async #routers(failures: unknown[]): Promise<PeerAddress[]> {
    const { guard, bootstrap } = this.#options
    const signal = this.#signal
    const resolved = await Promise.allSettled(
      bootstrap.map((router) => guard.resolve(routerUrl(router), { schemes: ['udp'], signal })),
    )
    return resolved.flatMap((result) => {
      if (result.status === 'rejected') {
        failures.push(result.reason)
        return []
      }
      const { addresses, port } = result.value
      const hosts = addresses.filter((address) => !address.includes(':'))
      return hosts.slice(0, ROUTER_ADDRESSES).map((host) => ({ host, port }))
    })
  }

  /** Resolves with the first that answers, or once nobody did. */
  #anyAnswers(dht: DHT, nodes: readonly PeerAddress[]): Promise<boolean> {
    return new Promise((resolve) => {
      const pings = nodes.map(async (node) => {
        if (await this.#ping(dht, node)) resolve(true)
      })
      void Promise.all(pings).then(() => resolve(false))
    })
  }

  /** Never rejects. Who answers is in the routing table afterwards, if there was room. */
  async #ping(dht: DHT, node: PeerAddress): Promise<boolean> {
    if (this.#signal.aborted || !this.#options.guard.allowsPeer(node)) return false
    const answered = new Promise<boolean>((resolve) => {
      const { host, port } = node
      dht._rpc.query({ host, port }, { q: 'ping' }, (error) => resolve(!error))
    })
    // What the library never calls back for ends with us.
    const answers = await abortable(answered, this.#signal).catch(() => false)
    if (answers) {
      this.#arrived()
      this.#arrival = undefined
    }
    return answers
  }

  #askCandidates(dht: DHT): void {
    while (this.#pings < PINGS_AT_ONCE && !this.#signal.aborted) {
      const [node] = this.#takeCandidates(1)
      if (node === undefined) return
      this.#pings++
      void this.#ping(dht, node).then(() => {
        this.#pings--
        this.#askCandidates(dht)
      })
    }
  }

  #takeCandidates(count: number): PeerAddress[] {
    const taken = [...this.#candidates].slice(0, count)
    for (const [key] of taken) this.#candidates.delete(key)
    return taken.map(([, node]) => node)
  }

  /** Told once, until somebody answers. */
  #lost(cause: unknown): void {
    if (this.#isolated) return
    this.#isolated = true
    const options = cause === undefined ? undefined : { cause }
    const text = 'no DHT node answered'
    this.#options.onWarning(new IsthmusError('ISTHMUS_DISCOVERY_FAILED', text, options))
  }
}

/** @throws TypeError for what is no `host:port`. */
export function routerUrl(router: string): URL {
  const url = URL.canParse(`udp://${router}`) ? new URL(`udp://${router}`) : undefined
  if (url === undefined || url.port === '' || url.host !== router.toLowerCase()) {
    throw new TypeError(`not host:port: ${router}`)
  }
  return url
}
