import { createSocket, type Socket } from 'node:dgram'
import { EventEmitter } from 'node:events'
import { IsthmusError } from '../errors.ts'
import {
  BencodeDict,
  type BencodeInput,
  type BencodeValue,
  decodeBencode,
  encodeBencode,
} from '../metainfo/bencode.ts'
import type { AddressPolicy } from '../net/address-policy.ts'
import { parseIpAddress } from '../net/ip-address.ts'
import { decodeCompactPeers, type PeerAddress } from '../net/peer-address.ts'
import {
  COMPACT_NODE_BYTES,
  type DhtError,
  type DhtQuery,
  type DhtResponse,
  MAX_DHT_DATAGRAM_BYTES,
  parseDhtMessage,
} from './dht-message.ts'
import { isNodeIdOf, NODE_ID_BYTES } from './dht-node-id.ts'
import { DhtTransactions } from './dht-transactions.ts'
import { PacketRates } from './packet-rates.ts'

export interface DhtSocketOptions {
  /** Nobody else is heard or written to. */
  readonly policy: AddressPolicy
  /** BEP 43: queries are not answered, and others are told so. */
  readonly readOnly: boolean
  /** BEP 42: nodes of the public internet whose id does not fit their address are told nothing and not passed on. */
  readonly enforceNodeIds: boolean
  /** Datagrams per second that are looked at, of one /24 and in all. */
  readonly sourcePacketsPerSecond: number
  readonly packetsPerSecond: number
  /** A clock in ms. */
  readonly now: () => number
  /** A node that answers queries asked us something. */
  readonly onQuery: (node: PeerAddress, id: Uint8Array) => void
  /** A node that we asked says where it sees us. */
  readonly onExternalAddress: (seenBy: string, address: string) => void
}

/** BEP 5: K, the nodes of an answer. */
const REPLY_NODES = 8
const REPLY_PEERS = 50
/** Of a source's datagrams, one in so many may be an announce: each of them is kept. */
const DATAGRAMS_PER_ANNOUNCE = 10
const METHOD_UNKNOWN = 204

/**
 * The datagram socket of a DHT node, between the network and the library that speaks BEP 5. It has the
 * surface of a `dgram.Socket` as far as the library looks. What comes in is bounded, rate-limited and
 * decoded strictly; the library gets it in an encoding of ours with the fields that BEP 5 knows and
 * nothing else, and only answers to questions that it asked. What goes out goes to addresses that the
 * policy allows, in datagrams of at most 1,500 bytes.
 */
export class DhtSocket extends EventEmitter {
  readonly #options: DhtSocketOptions
  readonly #transactions: DhtTransactions
  readonly #rates: PacketRates
  readonly #announces: PacketRates
  #socket: Socket | undefined
  #address: PeerAddress | undefined
  #closed = false

  constructor(options: DhtSocketOptions) {
    super()
    this.#options = options
    const { now, packetsPerSecond, sourcePacketsPerSecond } = options
    this.#transactions = new DhtTransactions(now)
    this.#rates = new PacketRates({
      now,
      sourcePerSecond: sourcePacketsPerSecond,
      totalPerSecond: packetsPerSecond,
    })
    this.#announces = new PacketRates({
      now,
      sourcePerSecond: sourcePacketsPerSecond / DATAGRAMS_PER_ANNOUNCE,
      totalPerSecond: packetsPerSecond,
    })
  }

  /** Rejects with `ISTHMUS_LISTEN_FAILED`. The socket does not keep the process alive. */
  async bind(port: number, host: string): Promise<PeerAddress> {
    const socket = createSocket('udp4')
    socket.unref()
    this.#socket = socket
    socket.on('message', (datagram, { address, port: from }) =>
      this.receive(datagram, { host: address, port: from }),
    )
    try {
      await bound(socket, port, host)
    } catch (cause) {
      this.#socket = undefined
      socket.close()
      const text = `the DHT cannot listen on ${host}:${port}`
      throw new IsthmusError('ISTHMUS_LISTEN_FAILED', text, { cause })
    }
    // Afterwards, what fails is one datagram, as if it had been lost.
    socket.on('error', () => {})
    const { address, port: taken } = socket.address()
    this.#address = { host: address, port: taken }
    return this.#address
  }

  address(): { address: string; port: number } {
    const { host, port } = this.#address ?? { host: '0.0.0.0', port: 0 }
    return { address: host, port }
  }

  /** Sends what the library made, or loses it where it may not be sent. */
  send(
    buffer: Uint8Array,
    offset: number,
    length: number,
    port: number,
    address: string,
    callback: (error: Error | null) => void,
  ): void {
    const to = { host: address, port }
    const message = this.#outgoing(buffer.subarray(offset, offset + length), to)
    if (message !== undefined) this.#transmit(message, to)
    process.nextTick(callback, null)
  }

  /** A datagram came in. Never throws. */
  receive(datagram: Uint8Array, from: PeerAddress): void {
    if (this.#closed || from.port === 0 || datagram.length > MAX_DHT_DATAGRAM_BYTES) return
    const expected = this.#transactions.expects(from)
    if (!this.#rates.admits(from.host, expected) || !this.#mayTalkTo(from)) return
    const message = parseDhtMessage(datagram)
    if (message === undefined) return
    if (message.kind === 'query') this.#receiveQuery(message, from)
    else this.#receiveAnswer(message, from)
  }

  /** Nothing goes in or out any more; 'close' follows. */
  close(): void {
    if (this.#closed) return
    this.#closed = true
    if (this.#socket === undefined) process.nextTick(() => this.emit('close'))
    else this.#socket.close(() => this.emit('close'))
  }

  #receiveQuery(query: DhtQuery, from: PeerAddress): void {
    if (this.#options.readOnly) return
    if (query.name === undefined) {
      const e = [METHOD_UNKNOWN, 'Method Unknown']
      this.#transmit({ t: query.transaction, y: 'e', e }, from)
      return
    }
    if (query.name === 'announce_peer' && !this.#announces.admits(from.host)) return
    this.#deliver({ t: query.transaction, y: 'q', q: query.name, a: argumentsOf(query) }, from)
    if (!query.readOnly && this.#isTrusted(query.id, from.host)) {
      this.#options.onQuery(from, query.id)
    }
  }

  #receiveAnswer(answer: DhtResponse | DhtError, from: PeerAddress): void {
    const t = this.#transactions.take(from, answer.transaction)
    if (t === undefined) return
    if (answer.kind === 'error') {
      this.#deliver({ t, y: 'e', e: [answer.code, 'refused'] }, from)
      return
    }
    const { id, externalAddress } = answer
    if (externalAddress !== undefined) this.#options.onExternalAddress(from.host, externalAddress)
    const values = answer.values.filter((value) => this.#isContact(value))
    const r = {
      id,
      // Without a token nothing is stored there.
      token: this.#isTrusted(id, from.host) ? answer.token : undefined,
      nodes: Buffer.concat(this.#usable(answer.nodes)),
      values: values.length > 0 ? values : undefined,
    }
    this.#deliver({ t, y: 'r', r }, from)
  }

  /** Nodes that we may ask, one of each public address: an answer must not lead us to one party alone. */
  #usable(nodes: readonly Uint8Array[]): readonly Uint8Array[] {
    const hosts = new Set<string>()
    return nodes.filter((node) => {
      const contact = this.#contact(node.subarray(NODE_ID_BYTES))
      if (contact === undefined) return false
      if (!this.#isTrusted(node.subarray(0, NODE_ID_BYTES), contact.host)) return false
      if (!this.#options.policy.isPublic(contact.host)) return true
      if (hosts.has(contact.host)) return false
      hosts.add(contact.host)
      return true
    })
  }

  #isContact(compact: Uint8Array): boolean {
    return this.#contact(compact) !== undefined
  }

  #contact(compact: Uint8Array): PeerAddress | undefined {
    const [contact] = decodeCompactPeers(compact, 4)
    return contact !== undefined && this.#mayTalkTo(contact) ? contact : undefined
  }

  #mayTalkTo({ host }: PeerAddress): boolean {
    return this.#options.policy.allows(host)
  }

  /** BEP 42 exempts local networks. */
  #isTrusted(id: Uint8Array, host: string): boolean {
    const { enforceNodeIds, policy } = this.#options
    return !enforceNodeIds || !policy.isPublic(host) || isNodeIdOf(id, host)
  }

  /**
   * A query's id is left out, so that the library takes nobody into its routing table for having asked
   * something from an address that may be another's: only who answers gets there.
   */
  #deliver(message: BencodeInput, { host, port }: PeerAddress): void {
    const bytes = encodeBencode(message)
    const datagram = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
    this.emit('message', datagram, { address: host, family: 'IPv4', port, size: datagram.length })
  }

  #outgoing(bytes: Uint8Array, to: PeerAddress): Map<string, BencodeInput> | undefined {
    const message = decodeBencode(bytes)
    if (!(message instanceof BencodeDict)) return undefined
    const changed = new Map<string, BencodeInput>(message)
    const transaction = message.get('t')
    const reply = message.get('r')
    if (reply instanceof BencodeDict) {
      changed.set('r', boundedReply(reply))
      changed.set('ip', compactAddress(to))
    } else if (message.has('q') && transaction instanceof Uint8Array) {
      if (!this.#mayTalkTo(to)) return undefined
      changed.set('t', this.#transactions.open(to, transaction))
      if (this.#options.readOnly) changed.set('ro', 1)
    }
    return changed
  }

  #transmit(message: BencodeInput, to: PeerAddress): void {
    if (this.#closed || this.#socket === undefined || !this.#mayTalkTo(to)) return
    const datagram = encodeBencode(message)
    if (datagram.length > MAX_DHT_DATAGRAM_BYTES) return
    // A datagram that cannot be sent is a datagram that got lost.
    this.#socket.send(datagram, to.port, to.host, () => {})
  }
}

function argumentsOf({ name, target, token, port }: DhtQuery): BencodeInput {
  if (name === 'find_node') return { target }
  if (name === 'get_peers') return { info_hash: target }
  if (name !== 'announce_peer') return {}
  return { info_hash: target, token, port, implied_port: port === undefined ? 1 : undefined }
}

function boundedReply(reply: BencodeDict): Map<string, BencodeValue> {
  const bounded = new Map(reply)
  const nodes = reply.get('nodes')
  const values = reply.get('values')
  // The library sorts nodes by their distance, and shuffles peers.
  if (nodes instanceof Uint8Array) {
    bounded.set('nodes', nodes.subarray(0, REPLY_NODES * COMPACT_NODE_BYTES))
  }
  if (Array.isArray(values)) bounded.set('values', values.slice(0, REPLY_PEERS))
  return bounded
}

/** BEP 42: tells a node where we see it. */
function compactAddress({ host, port }: PeerAddress): Uint8Array {
  return Uint8Array.of(...(parseIpAddress(host) ?? []), port >> 8, port & 0xff)
}

function bound(socket: Socket, port: number, host: string): Promise<void> {
  return new Promise((resolve, reject) => {
    socket.once('error', reject)
    socket.bind({ port, address: host }, () => {
      socket.off('error', reject)
      resolve()
    })
  })
}
