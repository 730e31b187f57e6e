import { IsthmusError } from '../errors.ts'
import { BencodeDict, decodeBencode, encodeBencode } from '../metainfo/bencode.ts'
import { parseIpAddress } from '../net/ip-address.ts'
import { decodeCompactPeers, type PeerAddress } from '../net/peer-address.ts'
import { COMPACT_PEER_BYTES } from './dht-message.ts'
import { NODE_ID_BYTES } from './dht-node-id.ts'

/** What a DHT node keeps across restarts. */
export interface DhtState {
  readonly id: Uint8Array
  /** IPv4 only, those first that answered last. */
  readonly nodes: readonly PeerAddress[]
}

/** Where the state of a DHT node is kept, as bytes without a meaning of their own. */
export interface DhtStateStore {
  /** Undefined where nothing was saved yet. */
  load(): Promise<Uint8Array | undefined>
  /** At most 1 KiB; `bytes` are the store's from then on. */
  save(bytes: Uint8Array): Promise<void>
}

export const MAX_SAVED_NODES = 128
const VERSION = 1
const MAX_STATE_BYTES = 4096

export function encodeDhtState({ id, nodes }: DhtState): Uint8Array {
  const contacts = nodes.slice(0, MAX_SAVED_NODES).flatMap(({ host, port }) => {
    const bytes = parseIpAddress(host)
    return bytes?.length === 4 ? [...bytes, port >> 8, port & 0xff] : []
  })
  return encodeBencode({ version: VERSION, id, nodes: Uint8Array.from(contacts) })
}

/** @throws IsthmusError `ISTHMUS_DISCOVERY_FAILED` for what was not written by {@link encodeDhtState}. */
export function parseDhtState(bytes: Uint8Array): DhtState {
  if (bytes.length > MAX_STATE_BYTES) throw invalid()
  const state = decode(bytes)
  const id = state.get('id')
  const nodes = state.get('nodes')
  if (state.get('version') !== VERSION) throw invalid()
  if (!(id instanceof Uint8Array) || id.length !== NODE_ID_BYTES) throw invalid()
  if (!(nodes instanceof Uint8Array) || nodes.length % COMPACT_PEER_BYTES !== 0) throw invalid()
  const known = decodeCompactPeers(nodes, 4).slice(0, MAX_SAVED_NODES)
  return { id: Uint8Array.from(id), nodes: known }
}

function decode(bytes: Uint8Array): BencodeDict {
  try {
    const value = decodeBencode(bytes, { maxDepth: 1, maxTokens: 32 })
    if (value instanceof BencodeDict) return value
  } catch (cause) {
    throw invalid(cause)
  }
  throw invalid()
}

function invalid(cause?: unknown): IsthmusError {
  const text = 'the saved state of the DHT is not one of ours'
  return new IsthmusError('ISTHMUS_DISCOVERY_FAILED', text, { cause })
}
