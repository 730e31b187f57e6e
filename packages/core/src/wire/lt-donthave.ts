import { protocolError, readUint32 } from './frames.ts'

/** A piece that the sender had is gone (BEP 54). Throws `ISTHMUS_WIRE_PROTOCOL` unless it is one number. */
export function decodeDontHave(payload: Uint8Array): number {
  if (payload.length !== 4) throw protocolError('a piece that is gone without its number')
  return readUint32(payload, 0)
}

export function encodeDontHave(piece: number): Uint8Array {
  const payload = Buffer.alloc(4)
  payload.writeUInt32BE(piece)
  return payload
}
