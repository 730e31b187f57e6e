/** A handshake as BEP 3 has it, with the bits of BEP 10 and BEP 6 where asked for. */
export interface HandshakeBits {
  readonly extended?: boolean | undefined
  readonly fast?: boolean | undefined
  /** All eight bytes, instead of those two bits. */
  readonly reserved?: Uint8Array | undefined
}

export const infoHashSample = Buffer.alloc(20, 0xab)
export const peerIdSample = Buffer.from('-XX0000-some peer   ', 'latin1')

export function handshakeBytes({ extended, fast, reserved }: HandshakeBits = {}): Buffer {
  const bits = Buffer.alloc(8)
  if (extended) bits[5] = 0x10
  if (fast) bits[7] = 0x04
  const name = Buffer.from('\x13BitTorrent protocol', 'latin1')
  return Buffer.concat([name, reserved ?? bits, infoHashSample, peerIdSample])
}

/** One message with its length and id. */
export function message(id: number, ...payload: readonly Uint8Array[]): Buffer {
  const body = Buffer.concat([Buffer.of(id), ...payload])
  return Buffer.concat([uint32(body.length), body])
}

/** A message whose payload is numbers of four bytes. */
export function numbers(id: number, ...values: readonly number[]): Buffer {
  return message(id, ...values.map(uint32))
}

export function uint32(value: number): Buffer {
  const bytes = Buffer.alloc(4)
  bytes.writeUInt32BE(value)
  return bytes
}

export interface SplitMessage {
  /** -1 for a keep-alive. */
  readonly id: number
  /** As hex, to be compared. */
  readonly payload: string
}

/** Cuts whole messages out of what somebody wrote; the handshake must be gone. */
export function splitMessages(bytes: Buffer): SplitMessage[] {
  const messages: SplitMessage[] = []
  for (let at = 0; at < bytes.length; ) {
    const length = bytes.readUInt32BE(at)
    const end = at + 4 + length
    if (end > bytes.length) throw new Error(`half a message of ${length} bytes`)
    const id = length === 0 ? -1 : bytes.readUInt8(at + 4)
    messages.push({ id, payload: bytes.toString('hex', at + 5, end) })
    at = end
  }
  return messages
}
