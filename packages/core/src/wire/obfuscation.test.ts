import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { propertyOptions } from '../../../../test/support/property.ts'
import { type ErrorCode, isIsthmusError } from '../errors.ts'
import {
  KeyExchange,
  maskHash,
  obfuscatedHash,
  streamCiphers,
  synchronizationHash,
} from './mse-keys.ts'
import type { ObfuscatedStream } from './obfuscated-stream.ts'
import { type InitiatorOptions, Obfuscation, type ResponderOptions } from './obfuscation.ts'
import type { ObfuscationMethod, ObfuscationPolicy } from './obfuscation-policy.ts'

const infoHash = Uint8Array.from({ length: 20 }, (_, i) => i)
const others = [1, 2, 3].map((fill) => new Uint8Array(20).fill(fill))
const known = new Map([infoHash, ...others].map((hash) => [hex(obfuscatedHash(hash)), hash]))
const findInfoHash = (hash: Uint8Array) => known.get(hex(hash))

const fill = (byte: number) => (length: number) => new Uint8Array(length).fill(byte)
const paddingOf = (length: number) => () => length
const ascii = (text: string) => Uint8Array.from(Buffer.from(text, 'latin1'))
const plainOpening = Buffer.concat([ascii('\x13BitTorrent protocol'), Buffer.alloc(48, 7)])

function hex(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('hex')
}

/** One end of a connection: what it says once it may, and what it heard. */
class End {
  stream: ObfuscatedStream | undefined
  heard = ''
  readonly #handshake: Obfuscation
  readonly #says: string

  constructor(handshake: Obfuscation, says: string) {
    this.#handshake = handshake
    this.#says = says
  }

  start(): Uint8Array {
    return this.#handshake.start()
  }

  /** Answers what it says to that. */
  hear(bytes: Uint8Array): Uint8Array {
    const chunk = Uint8Array.from(bytes)
    if (this.stream !== undefined) {
      this.stream.decrypt(chunk)
      this.heard += Buffer.from(chunk).toString('latin1')
      return new Uint8Array()
    }
    const { send, stream, received } = this.#handshake.receive(chunk)
    this.stream = stream
    this.heard += Buffer.from(received).toString('latin1')
    if (stream === undefined) return send
    const speech = ascii(this.#says)
    stream.encrypt(speech)
    return Buffer.concat([send, speech])
  }
}

type Cut = (bytes: Uint8Array) => readonly Uint8Array[]
const whole: Cut = (bytes) => [bytes]

/** Lets two ends talk until both have said all. Every flight arrives in the chunks that `cut` makes of it. */
function talk(initiator: End, responder: End, cut: Cut = whole): void {
  let flight = initiator.start()
  expect(responder.start().length).toBe(0)
  for (let to = responder; flight.length > 0; to = to === responder ? initiator : responder) {
    flight = Buffer.concat(cut(flight).map((chunk) => to.hear(chunk)))
  }
}

interface Options {
  readonly initiator?: Partial<InitiatorOptions>
  readonly responder?: Partial<ResponderOptions>
}

function ends({ initiator = {}, responder = {} }: Options = {}): { a: End; b: End } {
  return {
    a: new End(Obfuscation.initiate({ infoHash, ...initiator }), ' and more of a'),
    b: new End(Obfuscation.respond({ findInfoHash, ...responder }), 'all of b'),
  }
}

const initialPayload = ascii('a begins')

function expectConversation({ a, b }: { a: End; b: End }, method: ObfuscationMethod): void {
  expect([a.stream?.method, b.stream?.method]).toEqual([method, method])
  expect([a.heard, b.heard]).toEqual(['all of b', 'a begins and more of a'])
}

describe('an initiator and a responder', () => {
  test('send what the specification says, byte by byte', () => {
    const a = Obfuscation.initiate({
      infoHash,
      initialPayload: ascii('initial payload'),
      random: fill(0x11),
      paddingLength: paddingOf(3),
    })
    const b = Obfuscation.respond({
      findInfoHash,
      random: fill(0x22),
      paddingLength: paddingOf(3),
      methods: ['rc4'],
    })
    const first = a.start()
    expect(first.length).toBe(99)
    const second = b.receive(first).send
    expect(second.length).toBe(99)
    const third = a.receive(second).send
    // Computed by another program, in another language.
    expect(hex(third)).toBe(
      '32dd7e3b16e8d7a1b444ea3f4167e202514f9feb7de15641025aa5da94322b22d792033e81a34c7f9529bd86a508fa4a' +
        '07dcfadb27e04361bfc10ab118be1051068194f859e06233d5f2',
    )
    const { send, stream, received } = b.receive(third)
    expect(hex(send)).toBe('bdb873b37b8af573903872ad791c1856db')
    expect(Buffer.from(received).toString()).toBe('initial payload')
    expect(stream?.infoHash).toEqual(infoHash)
    const toA = ascii('b to a')
    stream?.encrypt(toA)
    expect(hex(toA)).toBe('f843e9648e97')
    const toB = ascii('a to b')
    a.receive(send).stream?.encrypt(toB)
    expect(hex(toB)).toBe('8c3bb443cea1')
  })

  test.each<[number, number]>([
    [0, 0],
    [0, 512],
    [512, 0],
    [512, 512],
  ])('understand each other with paddings of %i and %i bytes', (mine, yours) => {
    for (const method of ['plaintext', 'rc4'] as const) {
      const pair = ends({
        initiator: { initialPayload, paddingLength: paddingOf(mine), methods: [method] },
        responder: { paddingLength: paddingOf(yours) },
      })
      talk(pair.a, pair.b)
      expectConversation(pair, method)
    }
  })

  test('understand each other wherever one flight is cut in two', () => {
    for (const method of ['plaintext', 'rc4'] as const) {
      for (let at = 1; at < 190; at++) {
        const pair = ends({
          initiator: { initialPayload, paddingLength: paddingOf(5), methods: [method] },
          responder: { paddingLength: paddingOf(5) },
        })
        talk(pair.a, pair.b, (bytes) =>
          at < bytes.length ? [bytes.subarray(0, at), bytes.subarray(at)] : [bytes],
        )
        expectConversation(pair, method)
      }
    }
  })

  test('understand each other however the stream is cut', () => {
    const { numRuns, seed } = propertyOptions('obfuscated handshakes in pieces, 2000 cases at most')
    const property = fc.property(
      fc.array(fc.integer({ min: 1, max: 150 }), { minLength: 1, maxLength: 30 }),
      fc.constantFrom<ObfuscationMethod>('plaintext', 'rc4'),
      fc.array(fc.integer({ min: 0, max: 512 }), { minLength: 4, maxLength: 4 }),
      (sizes, method, paddings) => {
        let turn = 0
        const paddingLength = () => paddings[turn++ % 4] ?? 0
        const pair = ends({
          initiator: { initialPayload, paddingLength, methods: [method] },
          responder: { paddingLength },
        })
        talk(pair.a, pair.b, (bytes) => cutInto(sizes, bytes))
        expectConversation(pair, method)
      },
    )
    fc.assert(property, { seed, numRuns: Math.min(numRuns, 2000) })
  })

  test('need no initial payload', () => {
    const { a, b } = ends()
    talk(a, b)
    expect([a.heard, b.heard]).toEqual(['all of b', ' and more of a'])
  })

  test('copy no payload that goes as it is', () => {
    const { a, b } = ends({ initiator: { methods: ['plaintext'] } })
    talk(a, b)
    expect([a.stream?.encrypts, b.stream?.encrypts]).toEqual([false, false])
    const other = ends({ initiator: { methods: ['rc4'] } })
    talk(other.a, other.b)
    expect([other.a.stream?.encrypts, other.b.stream?.encrypts]).toEqual([true, true])
  })

  test('begin every connection differently', () => {
    const first = Obfuscation.initiate({ infoHash }).start()
    const second = Obfuscation.initiate({ infoHash }).start()
    expect(hex(first.subarray(0, 96))).not.toBe(hex(second.subarray(0, 96)))
  })

  const p: readonly ObfuscationMethod[] = ['plaintext']
  const r: readonly ObfuscationMethod[] = ['rc4']
  const pr: readonly ObfuscationMethod[] = ['plaintext', 'rc4']
  const rp: readonly ObfuscationMethod[] = ['rc4', 'plaintext']
  test.each<
    [offered: readonly ObfuscationMethod[], taken: typeof p, ObfuscationMethod | undefined]
  >([
    [p, p, 'plaintext'],
    [p, r, undefined],
    [p, pr, 'plaintext'],
    [p, rp, 'plaintext'],
    [r, p, undefined],
    [r, r, 'rc4'],
    [r, pr, 'rc4'],
    [r, rp, 'rc4'],
    [pr, p, 'plaintext'],
    [pr, r, 'rc4'],
    [pr, pr, 'plaintext'],
    [pr, rp, 'rc4'],
    [rp, pr, 'plaintext'],
    [rp, rp, 'rc4'],
  ])('of %j offered and %j taken agree on %s', (offered, taken, method) => {
    const pair = ends({
      initiator: { initialPayload, methods: offered },
      responder: { methods: taken },
    })
    if (method === undefined) {
      expectRefused(() => talk(pair.a, pair.b), 'no obfuscation method')
    } else {
      talk(pair.a, pair.b)
      expectConversation(pair, method)
    }
  })

  test.each<[ObfuscationPolicy, ObfuscationPolicy, ObfuscationMethod]>([
    ['prefer', 'prefer', 'plaintext'],
    ['prefer', 'require', 'rc4'],
    ['require', 'prefer', 'rc4'],
    ['require', 'require', 'rc4'],
  ])('with the policies %s and %s agree on %s', (mine, yours, method) => {
    const pair = ends({
      initiator: { initialPayload, policy: mine },
      responder: { policy: yours },
    })
    talk(pair.a, pair.b)
    expectConversation(pair, method)
  })

  test.each<ObfuscationPolicy>(['prefer', 'require'])(
    'do not meet where one refuses and the other is told to %s',
    (policy) => {
      const { a, b } = ends({ initiator: { policy }, responder: { policy: 'refuse' } })
      expectRefused(() => talk(a, b), 'begins obfuscated')
    },
  )
})

describe('a responder to a plain connection', () => {
  test.each<ObfuscationPolicy>(['prefer', 'refuse'])('under %s hands on all of it', (policy) => {
    for (let at = 0; at < plainOpening.length; at++) {
      const handshake = Obfuscation.respond({ findInfoHash, policy })
      const chunks = [plainOpening.subarray(0, at), plainOpening.subarray(at)]
      const heard: Uint8Array[] = []
      let stream: ObfuscatedStream | undefined
      for (const chunk of chunks) {
        if (stream === undefined) {
          const step = handshake.receive(chunk)
          expect(step.send.length).toBe(0)
          heard.push(step.received)
          stream = step.stream
        } else heard.push(chunk)
      }
      expect(Buffer.concat(heard)).toEqual(plainOpening)
      expect(stream).toMatchObject({ method: undefined, infoHash: undefined, encrypts: false })
    }
  })

  test('hands it on without a copy where it came at once', () => {
    const chunk = Buffer.from(plainOpening)
    const { received } = Obfuscation.respond({ findInfoHash }).receive(chunk)
    expect(received.buffer).toBe(chunk.buffer)
    expect(received.byteOffset).toBe(chunk.byteOffset)
  })

  test('under require refuses it', () => {
    const handshake = Obfuscation.respond({ findInfoHash, policy: 'require' })
    expect(handshake.receive(plainOpening.subarray(0, 19)).stream).toBeUndefined()
    expectRefused(() => handshake.receive(plainOpening.subarray(19)), 'begins plain')
  })

  test('under refuse refuses another one with the first byte', () => {
    const handshake = Obfuscation.respond({ findInfoHash, policy: 'refuse' })
    expectRefused(() => handshake.receive(Uint8Array.of(0x14)), 'begins obfuscated')
  })
})

describe('a hostile or broken peer', () => {
  test('that dials for a torrent that we do not have is refused', () => {
    const { a, b } = ends({ initiator: { infoHash: new Uint8Array(20).fill(9) } })
    expectRefused(() => talk(a, b), 'no torrent of ours')
  })

  test('that answers for another torrent is refused', () => {
    const { a, b } = ends({ responder: { findInfoHash: () => others[0] } })
    expectRefused(() => talk(a, b), 'constant')
  })

  test('that sends a prefix of a handshake is waited for', () => {
    const options = { findInfoHash, random: fill(0x22) }
    const { a: theirs, b } = ends({
      initiator: { paddingLength: paddingOf(9) },
      responder: options,
    })
    const first = theirs.start()
    const all = Buffer.concat([first, theirs.hear(b.hear(first))])
    const receive = (length: number) =>
      Obfuscation.respond(options).receive(all.subarray(0, length)).stream
    for (let length = 0; length < all.length; length++) expect(receive(length)).toBe(undefined)
    expect(receive(all.length)?.infoHash).toEqual(infoHash)
  })

  test('that sends 1 MiB without an end of the padding is refused, with all that is kept bounded', () => {
    const mebibyte = new Uint8Array(1024 * 1024).fill(0x55)
    const responder = Obfuscation.respond({ findInfoHash })
    expectRefused(() => responder.receive(mebibyte), 'padding without an end')
    const initiator = Obfuscation.initiate({ infoHash })
    initiator.start()
    expectRefused(() => initiator.receive(mebibyte), 'padding without an end')
  })

  test('that pads without an end is refused at the first byte too many, not before', () => {
    const responder = Obfuscation.respond({ findInfoHash })
    const initiator = Obfuscation.initiate({ infoHash })
    initiator.start()
    for (const [side, longest] of [
      [responder, 96 + 512 + 20],
      [initiator, 96 + 512 + 8],
    ] as const) {
      for (let i = 1; i < longest; i++) {
        expect(side.receive(Uint8Array.of(0x55)).stream).toBe(undefined)
      }
      expectRefused(() => side.receive(Uint8Array.of(0x55)), 'padding without an end')
    }
  })

  test.each([0x00, 0xff])('whose public key is all %i is refused', (byte) => {
    const key = new Uint8Array(96).fill(byte)
    expectRefused(() => Obfuscation.respond({ findInfoHash }).receive(key), 'public key')
    const initiator = Obfuscation.initiate({ infoHash })
    initiator.start()
    expectRefused(() => initiator.receive(key), 'public key')
  })

  test('that answers an obfuscated handshake with a plain one is refused at once', () => {
    const initiator = Obfuscation.initiate({ infoHash })
    initiator.start()
    expectRefused(() => initiator.receive(plainOpening.subarray(0, 20)), 'plain answer')
  })

  test('that sends garbage meets ISTHMUS_WIRE_PROTOCOL and nothing else', () => {
    const { numRuns, seed } = propertyOptions(
      'obfuscated handshakes of garbage, 1000 cases at most',
    )
    const chunks = fc.array(fc.uint8Array({ minLength: 1, maxLength: 700 }), { maxLength: 4 })
    const property = fc.property(chunks, fc.boolean(), (garbage, dialled) => {
      const handshake = dialled
        ? Obfuscation.respond({ findInfoHash })
        : Obfuscation.initiate({ infoHash })
      handshake.start()
      const error = caught(() => {
        for (const chunk of garbage) expect(handshake.receive(chunk).stream).toBe(undefined)
      })
      if (error !== undefined) expect(isIsthmusError(error, 'ISTHMUS_WIRE_PROTOCOL')).toBe(true)
    })
    fc.assert(property, { seed, numRuns: Math.min(numRuns, 1000) })
  })

  test('is not listened to any more once it was refused', () => {
    const handshake = Obfuscation.respond({ findInfoHash })
    expectRefused(() => handshake.receive(new Uint8Array(96)), 'public key')
    expect(() => handshake.receive(new Uint8Array(1))).toThrow(TypeError)
  })

  const head = (methods: number, padding: number) => {
    const bytes = Buffer.alloc(14)
    bytes.writeUInt32BE(methods, 8)
    bytes.writeUInt16BE(padding, 12)
    return bytes
  }

  test.each<[string, Uint8Array, string]>([
    ['selects nothing', head(0, 0), 'not offered'],
    ['selects two methods', head(3, 0), 'not offered'],
    ['selects what is not known', head(4, 0), 'not offered'],
    ['selects what was not offered', head(1, 0), 'not offered'],
    ['pads with 513 bytes', head(2, 513), 'padding of 513 bytes'],
    ['pads with 65535 bytes', head(2, 65_535), 'padding of 65535 bytes'],
  ])('that was dialled and %s is refused', (_, answer, problem) => {
    const initiator = Obfuscation.initiate({ infoHash, methods: ['rc4'] })
    const exchange = new KeyExchange(fill(3))
    const secret = exchange.secretWith(initiator.start().subarray(0, 96))
    const { outgoing } = streamCiphers('responder', secret, infoHash)
    initiator.receive(exchange.publicKey)
    expectRefused(() => initiator.receive(outgoing.apply(Uint8Array.from(answer))), problem)
  })

  /** What a peer sends third, made by hand, with a responder that waits for it. */
  function dialled(...parts: readonly Uint8Array[]): { responder: Obfuscation; third: Uint8Array } {
    const responder = Obfuscation.respond({ findInfoHash })
    const exchange = new KeyExchange(fill(3))
    const { send } = responder.receive(Uint8Array.from(exchange.publicKey))
    const secret = exchange.secretWith(send.subarray(0, 96))
    const { outgoing } = streamCiphers('initiator', secret, infoHash)
    const third = Buffer.concat([
      synchronizationHash(secret),
      maskHash(obfuscatedHash(infoHash), secret),
      outgoing.apply(Uint8Array.from(Buffer.concat(parts))),
    ])
    return { responder, third }
  }

  test.each<[string, Uint8Array, string]>([
    ['offers nothing', head(0, 0), 'no obfuscation method'],
    ['offers what is not known', head(0xfffffffc, 0), 'no obfuscation method'],
    ['pads with 513 bytes', head(3, 513), 'padding of 513 bytes'],
    ['has a wrong verification constant', Buffer.alloc(14, 1), 'verification constant'],
  ])('that dials and %s is refused', (_, offer, problem) => {
    const { responder, third } = dialled(offer)
    expectRefused(() => responder.receive(third), problem)
  })

  test('that announces a long initial payload has it handed on as it comes, kept nowhere', () => {
    const length = Buffer.from([0xff, 0xff])
    const payload = Uint8Array.from({ length: 65_535 }, (_, i) => i & 255)
    const behind = Buffer.from('and this is no part of it')
    const { responder, third } = dialled(head(1, 0), length, payload)
    const heard: Uint8Array[] = []
    const { stream, received } = responder.receive(third.subarray(0, 60))
    heard.push(received)
    for (let at = 60; at < third.length; at += 10_000) {
      const chunk = third.subarray(at, at + 10_000)
      stream?.decrypt(chunk)
      heard.push(chunk)
    }
    stream?.decrypt(behind)
    expect(Buffer.concat(heard).equals(payload)).toBe(true)
    expect(behind.toString()).toBe('and this is no part of it')
  })
})

describe('the wrong argument is a RangeError:', () => {
  test('an info hash of 32 bytes', () => {
    expect(() => Obfuscation.initiate({ infoHash: new Uint8Array(32) })).toThrow(RangeError)
  })

  test('an initial payload longer than a handshake', () => {
    const initialPayload = new Uint8Array(69)
    expect(() => Obfuscation.initiate({ infoHash, initialPayload })).toThrow(RangeError)
  })
})

function cutInto(sizes: readonly number[], bytes: Uint8Array): Uint8Array[] {
  const chunks: Uint8Array[] = []
  for (let at = 0, turn = 0; at < bytes.length; turn++) {
    const size = sizes[turn % sizes.length] ?? 1
    chunks.push(bytes.subarray(at, at + size))
    at += size
  }
  return chunks
}

function expectRefused(run: () => unknown, problem: string): void {
  const code: ErrorCode = 'ISTHMUS_WIRE_PROTOCOL'
  const error = caught(run)
  expect(error).toMatchObject({ code, message: expect.stringContaining(problem) })
}

function caught(run: () => unknown): unknown {
  try {
    run()
    return undefined
  } catch (error) {
    return error
  }
}
