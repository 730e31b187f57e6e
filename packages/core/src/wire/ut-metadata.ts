import { BencodeDict, decodeBencodePrefix, encodeBencode } from '../metainfo/bencode.ts'
import { protocolError } from './frames.ts'

/** The info dictionary travels in pieces of this size (BEP 9); the last one may be shorter. */
export const METADATA_PIECE_LENGTH = 16_384

/** The messages of BEP 9. */
export type MetadataMessage =
  | { readonly type: 'request'; readonly piece: number }
  | {
      readonly type: 'data'
      readonly piece: number
      readonly totalSize: number
      readonly data: Uint8Array
    }
  | { readonly type: 'reject'; readonly piece: number }

/** How many pieces an info dictionary of `size` bytes has. */
export function metadataPieceCount(size: number): number {
  return Math.ceil(size / METADATA_PIECE_LENGTH)
}

/**
 * Throws `ISTHMUS_WIRE_PROTOCOL` for what BEP 9 does not allow; answers undefined for a message type
 * that it does not know, which it asks us to ignore. `data` is a view of `payload`.
 */
export function decodeMetadataMessage(payload: Uint8Array): MetadataMessage | undefined {
  const { value, end } = decodePrefix(payload)
  const type = value.get('msg_type')
  const piece = value.get('piece')
  if (typeof type !== 'number' || typeof piece !== 'number' || piece < 0) {
    throw protocolError('a metadata message without its fields')
  }
  if (type === 0) return { type: 'request', piece }
  if (type === 2) return { type: 'reject', piece }
  if (type !== 1) return undefined
  const totalSize = value.get('total_size')
  const data = payload.subarray(end)
  if (typeof totalSize !== 'number' || totalSize <= 0)
    throw protocolError('metadata without a size')
  if (data.length === 0 || data.length > METADATA_PIECE_LENGTH) {
    throw protocolError(`a metadata piece of ${data.length} bytes`)
  }
  return { type: 'data', piece, totalSize, data }
}

export function encodeMetadataRequest(piece: number): Uint8Array {
  return encodeBencode({ msg_type: 0, piece })
}

export function encodeMetadataReject(piece: number): Uint8Array {
  return encodeBencode({ msg_type: 2, piece })
}

/** @param info The whole info dictionary. */
export function encodeMetadataData(piece: number, info: Uint8Array): Uint8Array {
  const head = encodeBencode({ msg_type: 1, piece, total_size: info.length })
  const start = piece * METADATA_PIECE_LENGTH
  return Buffer.concat([head, info.subarray(start, start + METADATA_PIECE_LENGTH)])
}

function decodePrefix(payload: Uint8Array): { value: BencodeDict; end: number } {
  try {
    const { value, end } = decodeBencodePrefix(payload, { maxDepth: 8, maxTokens: 64 })
    if (value instanceof BencodeDict) return { value, end }
  } catch {
    // falls through to the one error below
  }
  throw protocolError('a metadata message that is no dictionary')
}
