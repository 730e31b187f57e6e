import { isHandshakeStart } from './handshake.ts'

/**
 * Which connections are made and taken:
 * - `allow`: peers are dialled plain, which costs a round trip less, and obfuscated where that fails;
 *   incoming ones may be either
 * - `prefer`: peers are dialled obfuscated, and plain where that fails; incoming ones may be either
 * - `require`: only obfuscated ones, both ways
 * - `refuse`: only plain ones, both ways
 */
export type ObfuscationPolicy = 'allow' | 'prefer' | 'require' | 'refuse'

/** What follows an obfuscated handshake: messages as they are, or all bytes through RC4. */
export type ObfuscationMethod = 'plaintext' | 'rc4'

/** How a connection begins: with a BitTorrent handshake (BEP 3), or with an obfuscated one. */
export type ConnectionKind = 'plain' | 'obfuscated'

export interface ObfuscationSettings {
  /** @defaultValue 'allow' */
  readonly policy?: ObfuscationPolicy | undefined
  /**
   * Methods that are offered and taken. Whoever was dialled chooses: the first of its own that was
   * offered. RC4 costs about 2 CPU-seconds per GB in each direction, plaintext nothing.
   * @defaultValue `['plaintext', 'rc4']`; under `require` only `['rc4']`
   */
  readonly methods?: readonly ObfuscationMethod[] | undefined
}

const PROTOCOL_LENGTH = 20

/** How to dial a peer: first like this, then, on another connection, like that. */
export function dialKinds(policy: ObfuscationPolicy): readonly ConnectionKind[] {
  switch (policy) {
    case 'allow':
      return ['plain', 'obfuscated']
    case 'prefer':
      return ['obfuscated', 'plain']
    case 'require':
      return ['obfuscated']
    case 'refuse':
      return ['plain']
  }
}

/** Whether a connection of this kind may be used. */
export function acceptsKind(policy: ObfuscationPolicy, kind: ConnectionKind): boolean {
  return dialKinds(policy).includes(kind)
}

/** The methods that these settings mean. @throws RangeError where there is none */
export function payloadMethods(settings: ObfuscationSettings): readonly ObfuscationMethod[] {
  const { policy = 'allow' } = settings
  const { methods = policy === 'require' ? ['rc4'] : ['plaintext', 'rc4'] } = settings
  if (methods.length === 0) throw new RangeError('obfuscation needs a method for the payload')
  return methods
}

/** Tells by the first bytes of a connection what it is; undefined while they are too few. */
export function connectionKind(bytes: Uint8Array): ConnectionKind | undefined {
  if (!isHandshakeStart(bytes)) return 'obfuscated'
  return bytes.length < PROTOCOL_LENGTH ? undefined : 'plain'
}
