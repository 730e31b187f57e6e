import { BencodeDict, type BencodeValue, decodeBencode } from '../metainfo/bencode.ts'
import { formatIpAddress } from '../net/ip-address.ts'
import { NODE_ID_BYTES } from './dht-node-id.ts'

/** A message of another node (BEP 5) that was found to be well-formed; its bytes are views of the datagram. */
export type DhtMessage = DhtQuery | DhtResponse | DhtError

export interface DhtQuery {
  readonly kind: 'query'
  readonly transaction: Uint8Array
  /** Undefined for a query of which BEP 5 knows nothing. */
  readonly name: 'ping' | 'find_node' | 'get_peers' | 'announce_peer' | undefined
  readonly id: Uint8Array
  /** What is asked for: a node id or an info hash. */
  readonly target?: Uint8Array | undefined
  readonly token?: Uint8Array | undefined
  /** Undefined: the port that the datagram came from. */
  readonly port?: number | undefined
  /** BEP 43: it answers no queries. */
  readonly readOnly: boolean
}

export interface DhtResponse {
  readonly kind: 'response'
  readonly transaction: Uint8Array
  readonly id: Uint8Array
  readonly token?: Uint8Array | undefined
  /** 26 bytes each: id, IPv4 address, port. */
  readonly nodes: readonly Uint8Array[]
  /** 6 bytes each: IPv4 address, port. */
  readonly values: readonly Uint8Array[]
  /** BEP 42: where it sees us. */
  readonly externalAddress?: string | undefined
}

export interface DhtError {
  readonly kind: 'error'
  readonly transaction: Uint8Array
  readonly code: number
}

export const MAX_DHT_DATAGRAM_BYTES = 1500
export const COMPACT_NODE_BYTES = NODE_ID_BYTES + 6
export const COMPACT_PEER_BYTES = 6
const MAX_TRANSACTION_BYTES = 32
const MAX_TOKEN_BYTES = 128
const MESSAGE_LIMITS = { maxDepth: 8, maxTokens: 1500 }

/** Undefined for whatever is no message of BEP 5; never throws. */
export function parseDhtMessage(datagram: Uint8Array): DhtMessage | undefined {
  const message = decodeMessage(datagram)
  if (message === undefined) return undefined
  const transaction = bytesOf(message, 't', 1, MAX_TRANSACTION_BYTES)
  if (transaction === undefined) return undefined
  switch (textOf(message.get('y'))) {
    case 'q':
      return parseQuery(message, transaction)
    case 'r':
      return parseResponse(message, transaction)
    case 'e':
      return parseError(message, transaction)
    default:
      return undefined
  }
}

function decodeMessage(datagram: Uint8Array): BencodeDict | undefined {
  // Anything but a dictionary is no message, and most of what is sent to a port at random is none.
  if (datagram.length > MAX_DHT_DATAGRAM_BYTES || datagram[0] !== LETTER_D) return undefined
  try {
    const value = decodeBencode(datagram, MESSAGE_LIMITS)
    return value instanceof BencodeDict ? value : undefined
  } catch {
    return undefined
  }
}

const LETTER_D = 0x64
const TARGETS = { find_node: 'target', get_peers: 'info_hash', announce_peer: 'info_hash' } as const

function parseQuery(message: BencodeDict, transaction: Uint8Array): DhtQuery | undefined {
  const body = message.get('a')
  const name = textOf(message.get('q'))
  if (!(body instanceof BencodeDict) || name === undefined) return undefined
  const id = bytesOf(body, 'id', NODE_ID_BYTES)
  if (id === undefined) return undefined
  const readOnly = message.get('ro') === 1
  const query = { kind: 'query', transaction, id, readOnly } as const
  if (name === 'ping') return { ...query, name }
  if (name !== 'find_node' && name !== 'get_peers' && name !== 'announce_peer') {
    return { ...query, name: undefined }
  }
  const target = bytesOf(body, TARGETS[name], NODE_ID_BYTES)
  if (target === undefined) return undefined
  if (name !== 'announce_peer') return { ...query, name, target }
  const token = bytesOf(body, 'token', 1, MAX_TOKEN_BYTES)
  const port = announcedPort(body)
  if (token === undefined || port === 'none') return undefined
  return { ...query, name, target, token, port }
}

function announcedPort(body: BencodeDict): number | undefined | 'none' {
  const implied = body.get('implied_port')
  if (typeof implied === 'number' && implied !== 0) return undefined
  const port = body.get('port')
  return typeof port === 'number' && port >= 1 && port <= 65_535 ? port : 'none'
}

function parseResponse(message: BencodeDict, transaction: Uint8Array): DhtResponse | undefined {
  const body = message.get('r')
  if (!(body instanceof BencodeDict)) return undefined
  const id = bytesOf(body, 'id', NODE_ID_BYTES)
  const nodes = body.get('nodes') ?? new Uint8Array()
  const values = body.get('values') ?? []
  if (id === undefined || !(nodes instanceof Uint8Array) || !Array.isArray(values)) return undefined
  if (nodes.length % COMPACT_NODE_BYTES !== 0) return undefined
  return {
    kind: 'response',
    transaction,
    id,
    token: bytesOf(body, 'token', 1, MAX_TOKEN_BYTES),
    nodes: split(nodes, COMPACT_NODE_BYTES),
    values: values.filter(isCompactPeer),
    externalAddress: externalAddressOf(message),
  }
}

function parseError(message: BencodeDict, transaction: Uint8Array): DhtError | undefined {
  const body = message.get('e')
  if (!Array.isArray(body)) return undefined
  const [code] = body
  return typeof code === 'number' ? { kind: 'error', transaction, code } : undefined
}

/** BEP 32 puts 18 bytes for IPv6 peers into the same list; those are left out with everything else. */
function isCompactPeer(value: BencodeValue): value is Uint8Array {
  return value instanceof Uint8Array && value.length === COMPACT_PEER_BYTES
}

function externalAddressOf(message: BencodeDict): string | undefined {
  const address = bytesOf(message, 'ip', COMPACT_PEER_BYTES)
  return address === undefined ? undefined : formatIpAddress(address.subarray(0, 4))
}

export function split(bytes: Uint8Array, stride: number): Uint8Array[] {
  return Array.from({ length: Math.floor(bytes.length / stride) }, (_, i) =>
    bytes.subarray(i * stride, (i + 1) * stride),
  )
}

function bytesOf(
  dict: BencodeDict,
  key: string,
  minimum: number,
  maximum = minimum,
): Uint8Array | undefined {
  const value = dict.get(key)
  if (!(value instanceof Uint8Array)) return undefined
  return value.length >= minimum && value.length <= maximum ? value : undefined
}

function textOf(value: BencodeValue | undefined): string | undefined {
  if (!(value instanceof Uint8Array) || value.length === 0 || value.length > 32) return undefined
  return Buffer.from(value.buffer, value.byteOffset, value.byteLength).toString('latin1')
}
