import { lookup as lookupAddresses } from 'node:dns/promises'
import { Agent as HttpAgent } from 'node:http'
import { Agent as HttpsAgent } from 'node:https'
import { IsthmusError } from '../errors.ts'
import { type AbortOptions, abortable } from '../signal.ts'
import { AddressPolicy } from './address-policy.ts'
import { formatIpAddress, parseIpAddress } from './ip-address.ts'
import type { PeerAddress } from './peer-address.ts'

/** Where a checked URL may be reached. */
export interface EgressTarget {
  readonly url: URL
  /** The address to connect to: the first of `addresses`. */
  readonly address: string
  /** Of `address`. */
  readonly family: 4 | 6
  readonly port: number
  /** All that the name resolved to, each of them allowed, IPv4 first. */
  readonly addresses: readonly string[]
}

export interface EgressGuardOptions {
  /** @defaultValue the public internet only */
  readonly policy?: AddressPolicy | undefined
  /** Every address of a name, as IP literals. @defaultValue the system's resolver */
  readonly lookup?: ((hostname: string) => Promise<readonly string[]>) | undefined
}

export interface ResolveOptions extends AbortOptions {
  /** Schemes that may be used, without the colon. @defaultValue ['http', 'https'] */
  readonly schemes?: readonly string[] | undefined
  /** The hop that redirected here. From a public address, only public ones may follow. */
  readonly redirectedFrom?: EgressTarget | undefined
}

const defaultPorts: Readonly<Record<string, number>> = { 'http:': 80, 'https:': 443 }

/**
 * Stands in front of every outbound connection that a stranger can name. Whoever connects asks
 * `resolve` first, and connects to the address that it answers, never to the name.
 */
export class EgressGuard {
  readonly policy: AddressPolicy
  readonly #lookup: (hostname: string) => Promise<readonly string[]>
  #agents: { readonly http: HttpAgent; readonly https: HttpsAgent } | undefined
  #closed = false

  constructor(options: EgressGuardOptions = {}) {
    const { policy = new AddressPolicy(), lookup = systemLookup } = options
    this.policy = policy
    this.#lookup = lookup
  }

  /**
   * Resolves the host of `url` once. Rejects with `ISTHMUS_EGRESS_DENIED` when the scheme is not
   * among `schemes`, when there is no port, or when any of the addresses is not allowed; with the
   * same code and text when the name does not resolve, so that the answer tells nothing about inner
   * networks.
   */
  async resolve(url: URL, options: ResolveOptions = {}): Promise<EgressTarget> {
    const { schemes = ['http', 'https'], redirectedFrom, signal } = options
    signal?.throwIfAborted()
    this.#assertOpen()
    const port = url.port === '' ? (defaultPorts[url.protocol] ?? 0) : Number(url.port)
    if (port === 0 || !schemes.includes(url.protocol.slice(0, -1))) throw denied()
    const answers = await abortable(this.#addressesOf(url), signal)
    // A name may have had several addresses, and any of them may have been the hop's.
    const publicOnly = redirectedFrom?.addresses.some((hop) => this.policy.isPublic(hop)) ?? false
    const allowed = (address: string) =>
      publicOnly ? this.policy.isPublic(address) : this.policy.allows(address)
    const addresses = inDialingOrder(answers)
    const [address] = addresses
    if (address === undefined || !answers.every(allowed)) throw denied()
    return { url, address, family: familyOf(address), port, addresses }
  }

  /** Whether a peer that a stranger named may be dialed. */
  allowsPeer(address: PeerAddress): boolean {
    return this.policy.allows(address.host)
  }

  /** The keep-alive agent for connections to checked addresses. It is the guard's; do not destroy it. */
  agent(protocol: 'http:' | 'https:'): HttpAgent | HttpsAgent {
    this.#assertOpen()
    this.#agents ??= { http: new HttpAgent(agentOptions), https: new HttpsAgent(agentOptions) }
    return protocol === 'https:' ? this.#agents.https : this.#agents.http
  }

  /** Ends every connection that was made through its agents; later calls are refused. */
  async close(): Promise<void> {
    this.#closed = true
    this.#agents?.http.destroy()
    this.#agents?.https.destroy()
    this.#agents = undefined
  }

  async #addressesOf(url: URL): Promise<readonly string[]> {
    const hostname = hostnameOf(url)
    // Node asks no lookup for IP literals, so they are judged here.
    if (parseIpAddress(hostname) !== undefined) return [hostname]
    try {
      return await this.#lookup(hostname)
    } catch (cause) {
      throw denied(cause)
    }
  }

  #assertOpen(): void {
    if (this.#closed) throw new IsthmusError('ISTHMUS_CLIENT_CLOSED', 'the egress guard is closed')
  }
}

const agentOptions = { keepAlive: true, maxFreeSockets: 16, timeout: 30_000 } as const

async function systemLookup(hostname: string): Promise<readonly string[]> {
  const answers = await lookupAddresses(hostname, { all: true, verbatim: true })
  return answers.map(({ address }) => address)
}

/** The host without brackets, in the spelling that http URLs have (RFC 3986 leaves `udp:` hosts as they are). */
function hostnameOf(url: URL): string {
  const special = url.protocol === 'http:' || url.protocol === 'https:'
  if (!special && !URL.canParse(`http://${url.host}`)) throw denied()
  const { hostname } = special ? url : new URL(`http://${url.host}`)
  const literal = hostname.startsWith('[') ? hostname.slice(1, -1) : hostname
  if (literal === '') throw denied()
  return literal
}

/** Canonical, each once, IPv4 first; what is no IP literal is left out. */
function inDialingOrder(answers: readonly string[]): readonly string[] {
  const canonical = answers.map(parseIpAddress).filter((bytes) => bytes !== undefined)
  const texts = [...new Set(canonical.map(formatIpAddress))]
  return texts.sort((a, b) => familyOf(a) - familyOf(b))
}

function familyOf(address: string): 4 | 6 {
  return address.includes(':') ? 6 : 4
}

function denied(cause?: unknown): IsthmusError {
  return new IsthmusError(
    'ISTHMUS_EGRESS_DENIED',
    'the address cannot be resolved or connecting to it is not allowed',
    cause === undefined ? undefined : { cause },
  )
}
