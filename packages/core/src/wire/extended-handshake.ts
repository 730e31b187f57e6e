import { BencodeDict, type BencodeValue, decodeBencode } from '../metainfo/bencode.ts'
import { formatIpAddress } from '../net/ip-address.ts'
import { protocolError } from './frames.ts'

/** What of a peer's extended handshake (BEP 10) we understand, checked. */
export interface ExtendedHandshake {
  /** Extension name → message id with the peer; 0 means switched off. */
  readonly extensions: Readonly<Record<string, number>>
  /** Bytes of the info dictionary (BEP 9). */
  readonly metadataSize?: number | undefined
  /** How many requests the peer keeps. */
  readonly requestQueue?: number | undefined
  /** Where the peer listens. */
  readonly port?: number | undefined
  /** BEP 21. */
  readonly uploadOnly?: boolean | undefined
  /** Our address, as the peer sees it; a hint, nothing more. */
  readonly yourAddress?: string | undefined
}

const NAME = /^[a-zA-Z][a-zA-Z0-9_.-]{0,31}$/
const EXTENSIONS_AT_MOST = 64

/** Throws `ISTHMUS_WIRE_PROTOCOL` unless `payload` is one strict dictionary. Fields that make no sense are left out. */
export function decodeExtendedHandshake(payload: Uint8Array): ExtendedHandshake {
  const dictionary = decodeDictionary(payload)
  const extensions: Record<string, number> = Object.create(null)
  const m = dictionary.get('m')
  if (m instanceof BencodeDict) {
    let count = 0
    for (const [name, id] of m) {
      if (!NAME.test(name) || !isByte(id) || ++count > EXTENSIONS_AT_MOST) continue
      extensions[name] = id
    }
  }
  return {
    extensions,
    metadataSize: positive(dictionary.get('metadata_size')),
    requestQueue: positive(dictionary.get('reqq')),
    port: portOf(dictionary.get('p')),
    uploadOnly: dictionary.has('upload_only') ? dictionary.get('upload_only') === 1 : undefined,
    yourAddress: addressOf(dictionary.get('yourip')),
  }
}

function decodeDictionary(payload: Uint8Array): BencodeDict {
  let value: BencodeValue
  try {
    value = decodeBencode(payload, { maxDepth: 16, maxTokens: 4096 })
  } catch {
    throw protocolError('an extended handshake that is no bencode')
  }
  if (!(value instanceof BencodeDict))
    throw protocolError('an extended handshake without a dictionary')
  return value
}

function isByte(value: BencodeValue): value is number {
  return typeof value === 'number' && value >= 0 && value <= 255
}

function positive(value: BencodeValue | undefined): number | undefined {
  return typeof value === 'number' && value > 0 ? value : undefined
}

function portOf(value: BencodeValue | undefined): number | undefined {
  return typeof value === 'number' && value > 0 && value < 65536 ? value : undefined
}

function addressOf(value: BencodeValue | undefined): string | undefined {
  if (!(value instanceof Uint8Array)) return undefined
  return value.length === 4 || value.length === 16 ? formatIpAddress(value) : undefined
}
