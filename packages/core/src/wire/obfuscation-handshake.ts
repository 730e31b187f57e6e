import { protocolError } from './frames.ts'
import {
  HASH_LENGTH,
  KeyExchange,
  maskHash,
  obfuscatedHash,
  PUBLIC_KEY_LENGTH,
  streamCiphers,
  synchronizationHash,
} from './mse-keys.ts'
import { ObfuscatedStream } from './obfuscated-stream.ts'
import type { ObfuscationIntake, Reading } from './obfuscation-intake.ts'
import {
  acceptsKind,
  type ObfuscationMethod,
  type ObfuscationPolicy,
} from './obfuscation-policy.ts'

/** Longest padding of every kind. */
export const MAX_PADDING = 512
const MARK = 8
const METHODS = 4
const LENGTH = 2

/** Bytes of the longest handshake of an initiator, its initial payload not counted. A responder's is shorter. */
export const LONGEST_HANDSHAKE =
  PUBLIC_KEY_LENGTH +
  MAX_PADDING +
  2 * HASH_LENGTH +
  (MARK + METHODS + LENGTH + MAX_PADDING) +
  LENGTH

/** What both sides of a handshake work with. */
export interface HandshakeTools {
  readonly intake: ObfuscationIntake
  readonly methods: readonly ObfuscationMethod[]
  /** Sends `parts`, in order. */
  send(...parts: readonly Uint8Array[]): void
  random(length: number): Uint8Array
  /** Bytes of the next padding. */
  paddingLength(): number
}

export interface InitiatorPart extends HandshakeTools {
  readonly infoHash: Uint8Array
  readonly initialPayload: Uint8Array
}

export interface ResponderPart extends HandshakeTools {
  readonly policy: ObfuscationPolicy
  findInfoHash(hash: Uint8Array): Uint8Array | undefined
}

/*
 * Message stream encryption, in the words of its specification:
 *   1 A→B: Ya, PadA
 *   2 B→A: Yb, PadB
 *   3 A→B: HASH('req1', S), HASH('req2', SKEY) xor HASH('req3', S),
 *          ENCRYPT(VC, crypto_provide, len(PadC), PadC, len(IA)), ENCRYPT(IA)
 *   4 B→A: ENCRYPT(VC, crypto_select, len(PadD), PadD), and what the method makes of the rest
 * SKEY is the info hash, VC eight zero bytes, IA what A says before it knows the method.
 */

/** The part of A. */
export function* initiate(part: InitiatorPart): Reading<ObfuscatedStream> {
  const { intake, methods, infoHash, initialPayload } = part
  const exchange = new KeyExchange(part.random)
  part.send(exchange.publicKey, part.random(part.paddingLength()))

  if ((yield* intake.kind()) === 'plain')
    throw protocolError('a plain answer to an obfuscated handshake')
  const secret = exchange.secretWith(yield* intake.take(PUBLIC_KEY_LENGTH))
  const { outgoing, incoming } = streamCiphers('initiator', secret, infoHash)
  const provided = methods.reduce((bits, method) => bits | METHOD_BITS[method], 0)
  part.send(
    synchronizationHash(secret),
    maskHash(obfuscatedHash(infoHash), secret),
    outgoing.apply(offer(provided, part.paddingLength(), initialPayload)),
  )

  yield* intake.skipPast(incoming.apply(new Uint8Array(MARK)), MAX_PADDING)
  const answer = viewOf(incoming.apply(yield* intake.take(METHODS + LENGTH)))
  const selected = answer.getUint32(0)
  const method = methods.find((known) => METHOD_BITS[known] === selected)
  if (method === undefined) throw protocolError('an obfuscation method that was not offered')
  incoming.apply(yield* intake.take(paddingOf(answer.getUint16(METHODS))))
  return ObfuscatedStream.open({ method, infoHash, outgoing, incoming, initialBytes: 0 })
}

/** The part of B. */
export function* respond(part: ResponderPart): Reading<ObfuscatedStream> {
  const { intake, methods, policy } = part
  const kind = yield* intake.kind()
  if (!acceptsKind(policy, kind)) throw protocolError(`a connection that begins ${kind}`)
  if (kind === 'plain') return ObfuscatedStream.plain()

  const theirs = yield* intake.take(PUBLIC_KEY_LENGTH)
  const exchange = new KeyExchange(part.random)
  const secret = exchange.secretWith(theirs)
  part.send(exchange.publicKey, part.random(part.paddingLength()))

  yield* intake.skipPast(synchronizationHash(secret), MAX_PADDING)
  const infoHash = part.findInfoHash(maskHash(yield* intake.take(HASH_LENGTH), secret))
  if (infoHash === undefined) throw protocolError('an obfuscated handshake for no torrent of ours')
  const { outgoing, incoming } = streamCiphers('responder', secret, infoHash)
  const offered = viewOf(incoming.apply(yield* intake.take(MARK + METHODS + LENGTH)))
  if (offered.getBigUint64(0) !== 0n) throw protocolError('a wrong verification constant')
  const provided = offered.getUint32(MARK)
  const method = methods.find((known) => (provided & METHOD_BITS[known]) !== 0)
  if (method === undefined) throw protocolError('no obfuscation method that we take')
  incoming.apply(yield* intake.take(paddingOf(offered.getUint16(MARK + METHODS))))
  const initialBytes = viewOf(incoming.apply(yield* intake.take(LENGTH))).getUint16(0)
  part.send(outgoing.apply(choice(METHOD_BITS[method], part.paddingLength())))
  return ObfuscatedStream.open({ method, infoHash, outgoing, incoming, initialBytes })
}

const METHOD_BITS: Readonly<Record<ObfuscationMethod, number>> = { plaintext: 1, rc4: 2 }

/** VC, crypto_provide, len(PadC), PadC, len(IA), IA. The padding is reserved: zero bytes. */
function offer(provided: number, padding: number, initialPayload: Uint8Array): Uint8Array {
  const head = choice(provided, padding)
  const bytes = new Uint8Array(head.length + LENGTH + initialPayload.length)
  bytes.set(head)
  viewOf(bytes).setUint16(head.length, initialPayload.length)
  bytes.set(initialPayload, head.length + LENGTH)
  return bytes
}

/** VC, crypto_select, len(PadD), PadD. */
function choice(selected: number, padding: number): Uint8Array {
  const bytes = new Uint8Array(MARK + METHODS + LENGTH + padding)
  viewOf(bytes).setUint32(MARK, selected)
  viewOf(bytes).setUint16(MARK + METHODS, padding)
  return bytes
}

function paddingOf(length: number): number {
  if (length > MAX_PADDING) throw protocolError(`padding of ${length} bytes`)
  return length
}

function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
}
