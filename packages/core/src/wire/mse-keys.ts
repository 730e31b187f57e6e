import { createHash } from 'node:crypto'
import { protocolError } from './frames.ts'
import { Rc4 } from './rc4.ts'

/** Bytes of a public key, and of the shared secret. */
export const PUBLIC_KEY_LENGTH = 96
/** Bytes of every hash in the handshake, and of the stream key: the info hash. */
export const HASH_LENGTH = 20

const PRIME = BigInt(
  '0xffffffffffffffffc90fdaa22168c234c4c6628b80dc1cd129024e088a67cc74020bbea63b139b22514a08798e3404dd' +
    'ef9519b3cd3a431b302b0a6df25f14374fe1356d6d51c245e485b576625e7ec6f44c42e9a63a36210000000000090563',
)
const GENERATOR = 2n
const PRIVATE_KEY_LENGTH = 20
// The start of an RC4 key stream betrays its key.
const DISCARDED = 1024

/** One side of the Diffie-Hellman exchange of message stream encryption. */
export class KeyExchange {
  readonly publicKey: Uint8Array
  readonly #privateKey: Uint8Array

  /** @param random makes so many random bytes */
  constructor(random: (length: number) => Uint8Array) {
    this.#privateKey = random(PRIVATE_KEY_LENGTH)
    this.publicKey = toBytes(power(GENERATOR, this.#privateKey))
  }

  /** The shared secret, 96 bytes. Throws `ISTHMUS_WIRE_PROTOCOL` for a key that makes it guessable. */
  secretWith(publicKey: Uint8Array): Uint8Array {
    const theirs = fromBytes(publicKey)
    if (theirs <= 1n || theirs >= PRIME - 1n) throw protocolError('a public key out of range')
    return toBytes(power(theirs, this.#privateKey))
  }
}

/** How a torrent is named in an obfuscated handshake: `HASH('req2', infoHash)`, 20 bytes. */
export function obfuscatedHash(infoHash: Uint8Array): Uint8Array {
  return hash('req2', infoHash)
}

/** What the initiator's padding ends with. */
export function synchronizationHash(secret: Uint8Array): Uint8Array {
  return hash('req1', secret)
}

/** Hides an obfuscated hash from those who do not know the secret, and shows it again. */
export function maskHash(hashed: Uint8Array, secret: Uint8Array): Uint8Array {
  return hash('req3', secret).map((byte, i) => byte ^ (hashed[i] as number))
}

/** The key streams of one side of a connection. */
export interface StreamCiphers {
  readonly outgoing: Rc4
  readonly incoming: Rc4
}

export function streamCiphers(
  role: 'initiator' | 'responder',
  secret: Uint8Array,
  infoHash: Uint8Array,
): StreamCiphers {
  const fromInitiator = streamCipher('keyA', secret, infoHash)
  const fromResponder = streamCipher('keyB', secret, infoHash)
  return role === 'initiator'
    ? { outgoing: fromInitiator, incoming: fromResponder }
    : { outgoing: fromResponder, incoming: fromInitiator }
}

function streamCipher(name: string, secret: Uint8Array, infoHash: Uint8Array): Rc4 {
  const cipher = new Rc4(hash(name, secret, infoHash))
  cipher.skip(DISCARDED)
  return cipher
}

function hash(name: string, ...parts: readonly Uint8Array[]): Uint8Array {
  const sha1 = createHash('sha1').update(name, 'latin1')
  for (const part of parts) sha1.update(part)
  return new Uint8Array(sha1.digest())
}

/**
 * `base` to the power of `exponent`, modulo the prime, by windows of four bits. It takes 0.2 ms;
 * OpenSSL checks the prime for 20 ms whenever it is given one.
 */
function power(base: bigint, exponent: Uint8Array): bigint {
  const powers = [1n]
  for (let i = 1; i < 16; i++) powers.push(((powers[i - 1] as bigint) * base) % PRIME)
  let result = 1n
  for (const digit of Buffer.from(exponent).toString('hex')) {
    for (let i = 0; i < 4; i++) result = (result * result) % PRIME
    result = (result * (powers[Number.parseInt(digit, 16)] as bigint)) % PRIME
  }
  return result
}

function fromBytes(bytes: Uint8Array): bigint {
  return BigInt(`0x${Buffer.from(bytes).toString('hex')}`)
}

function toBytes(value: bigint): Uint8Array {
  const hex = value.toString(16).padStart(2 * PUBLIC_KEY_LENGTH, '0')
  return new Uint8Array(Buffer.from(hex, 'hex'))
}
