/** Bytes of a handshake (BEP 3). */
export const HANDSHAKE_LENGTH = 68

const PROTOCOL = Buffer.from('\x13BitTorrent protocol', 'latin1')

/** What the first 68 bytes of a connection say. */
export interface Handshake {
  /** All eight, also the bits that we do not know. */
  readonly reserved: Uint8Array
  /** 20 bytes: the v1 info hash, or the v2 one cut short (BEP 52). */
  readonly infoHash: Uint8Array
  readonly peerId: Uint8Array
}

/** @returns undefined where `bytes` (68 of them) do not open a BitTorrent connection. Copies. */
export function decodeHandshake(bytes: Uint8Array): Handshake | undefined {
  if (!isHandshakeStart(bytes)) return undefined
  return {
    reserved: bytes.slice(20, 28),
    infoHash: bytes.slice(28, 48),
    peerId: bytes.slice(48, 68),
  }
}

/** Whether these, up to 20 bytes, can be how a handshake begins. */
export function isHandshakeStart(bytes: Uint8Array): boolean {
  const length = Math.min(bytes.length, PROTOCOL.length)
  for (let i = 0; i < length; i++) if (bytes[i] !== PROTOCOL[i]) return false
  return true
}

export function supportsExtensions(handshake: Handshake): boolean {
  return ((handshake.reserved[5] ?? 0) & 0x10) !== 0
}

/** BEP 5: the sender takes part in the DHT. */
export function supportsDht(handshake: Handshake): boolean {
  return ((handshake.reserved[7] ?? 0) & 0x01) !== 0
}

export function supportsFast(handshake: Handshake): boolean {
  return ((handshake.reserved[7] ?? 0) & 0x04) !== 0
}

/** BEP 52: the sender knows the v2 torrent too. */
export function supportsV2(handshake: Handshake): boolean {
  return ((handshake.reserved[7] ?? 0) & 0x10) !== 0
}
