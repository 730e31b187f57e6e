import {
  BencodeDict,
  type BencodeValue,
  decodeBencode,
  encodeBencode,
} from '../metainfo/bencode.ts'
import { decodeCompactPeers, encodeCompactPeer, type PeerAddress } from '../net/peer-address.ts'
import { protocolError } from './frames.ts'

/** A peer that somebody is connected to (BEP 11). */
export interface ExchangedPeer {
  readonly address: PeerAddress
  /** It has everything, or wants nothing more. @defaultValue false */
  readonly uploadOnly?: boolean | undefined
  /** It was dialed, so it can be. @defaultValue false */
  readonly reachable?: boolean | undefined
}

/** What changed since the last message. */
export interface PeerExchangeMessage {
  readonly added: readonly ExchangedPeer[]
  readonly dropped: readonly PeerAddress[]
}

/** BEP 11: of either kind, in one message. */
export const EXCHANGED_AT_MOST = 50

// The first message may have more than others, and some clients are generous later, too.
const ENTRIES_AT_MOST = 200
const UPLOAD_ONLY = 0x02
const REACHABLE = 0x10

/** Throws `ISTHMUS_WIRE_PROTOCOL` unless `payload` is one strict dictionary of whole addresses, at most 200 of either kind. */
export function decodePeerExchange(payload: Uint8Array): PeerExchangeMessage {
  const dictionary = decodeDictionary(payload)
  return {
    added: [...addedOf(dictionary, 'added', 4), ...addedOf(dictionary, 'added6', 6)],
    dropped: [...addressesOf(dictionary, 'dropped', 4), ...addressesOf(dictionary, 'dropped6', 6)],
  }
}

/** At most {@link EXCHANGED_AT_MOST} of either kind, at least one in all, no address twice. */
export function encodePeerExchange({ added, dropped }: PeerExchangeMessage): Uint8Array {
  const ofFamily = (family: 4 | 6) => added.filter(({ address }) => familyOf(address) === family)
  const droppedOf = (family: 4 | 6) => dropped.filter((address) => familyOf(address) === family)
  return encodeBencode({
    ...addedFields('added', ofFamily(4)),
    ...addedFields('added6', ofFamily(6)),
    dropped: compact(droppedOf(4)),
    dropped6: compact(droppedOf(6)),
  })
}

function addedOf(dictionary: BencodeDict, key: string, family: 4 | 6): ExchangedPeer[] {
  const bytes = compactAt(dictionary, key, family)
  const flags = dictionary.get(`${key}.f`)
  const stride = family === 4 ? 6 : 18
  const isFlagged = flags instanceof Uint8Array && flags.length * stride === bytes.length
  const peers: ExchangedPeer[] = []
  for (let at = 0; at * stride < bytes.length; at++) {
    const entry = bytes.subarray(at * stride, (at + 1) * stride)
    const flag = isFlagged ? (flags[at] as number) : 0
    for (const address of decodeCompactPeers(entry, family)) {
      const uploadOnly = (flag & UPLOAD_ONLY) !== 0
      peers.push({ address, uploadOnly, reachable: (flag & REACHABLE) !== 0 })
    }
  }
  return peers
}

function addressesOf(dictionary: BencodeDict, key: string, family: 4 | 6): PeerAddress[] {
  return decodeCompactPeers(compactAt(dictionary, key, family), family)
}

function compactAt(dictionary: BencodeDict, key: string, family: 4 | 6): Uint8Array {
  const value = dictionary.get(key) ?? new Uint8Array()
  const stride = family === 4 ? 6 : 18
  if (!(value instanceof Uint8Array) || value.length % stride !== 0) {
    throw protocolError('a peer exchange with half an address')
  }
  if (value.length > ENTRIES_AT_MOST * stride) throw protocolError('a peer exchange of too many')
  return value
}

function addedFields(key: string, peers: readonly ExchangedPeer[]) {
  if (peers.length === 0) return {}
  const flags = peers.map(
    ({ uploadOnly, reachable }) => (uploadOnly ? UPLOAD_ONLY : 0) | (reachable ? REACHABLE : 0),
  )
  return { [key]: compact(peers.map(({ address }) => address)), [`${key}.f`]: Buffer.from(flags) }
}

function compact(addresses: readonly PeerAddress[]): Uint8Array | undefined {
  if (addresses.length === 0) return undefined
  return Buffer.concat(addresses.map(encodeCompactPeer))
}

function familyOf({ host }: PeerAddress): 4 | 6 {
  return host.includes(':') ? 6 : 4
}

function decodeDictionary(payload: Uint8Array): BencodeDict {
  let value: BencodeValue
  try {
    value = decodeBencode(payload, { maxDepth: 8, maxTokens: 128 })
  } catch {
    throw protocolError('a peer exchange that is no bencode')
  }
  if (!(value instanceof BencodeDict)) throw protocolError('a peer exchange without a dictionary')
  return value
}
