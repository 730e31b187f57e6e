import { IsthmusError } from '../errors.ts'
import { defaultLimits } from '../limits.ts'

/**
 * A decoded value. Integers are numbers while they are safe integers, else bigints. Byte strings are
 * views of the input, never copies: take a copy of what has to outlive it.
 */
export type BencodeValue = number | bigint | Uint8Array | BencodeValue[] | BencodeDict

/**
 * A decoded dictionary. Keys are byte strings, one character (U+0000 to U+00FF) per byte. A map, so
 * that `__proto__` is a key like any other.
 */
export class BencodeDict extends Map<string, BencodeValue> {
  readonly #input: Uint8Array
  readonly #spans: readonly number[]

  /** @param spans - start and end of each value in `input`, in the order of the keys */
  constructor(input: Uint8Array = new Uint8Array(), spans: readonly number[] = []) {
    super()
    this.#input = input
    this.#spans = spans
  }

  /** The bytes of a value as they stand in the input (a view), for what is hashed. */
  span(key: string): Uint8Array | undefined {
    let position = 0
    for (const name of this.keys()) {
      if (name === key)
        return this.#input.subarray(this.#spans[position], this.#spans[position + 1])
      position += 2
    }
    return undefined
  }
}

export interface BencodeLimits {
  /** Depth of nested lists and dictionaries. @defaultValue 100 */
  readonly maxDepth?: number | undefined
  /** Values in all, where a key or an integer counts as 1, a string or a list as 2, a dictionary as 4. @defaultValue 3_000_000 */
  readonly maxTokens?: number | undefined
}

/**
 * Decodes bencode that fills all of `bytes` (BEP 3): in linear time, without recursion. Lengths and
 * integers have no sign where none is allowed, no leading zero, no `-0`; no key appears twice. Keys
 * out of order are accepted: info hashes are taken over the original bytes, never over a second
 * encoding, so the order proves nothing.
 *
 * @throws IsthmusError `ISTHMUS_BENCODE_INVALID`, with the offset in the message.
 */
export function decodeBencode(bytes: Uint8Array, limits: BencodeLimits = {}): BencodeValue {
  const { value, end } = decodeBencodePrefix(bytes, limits)
  if (end < bytes.length) throw invalid('unexpected bytes behind the value', end)
  return value
}

/** Decodes one value at the start of `bytes`; `end` is the offset behind it (BEP 9 messages). */
export function decodeBencodePrefix(
  bytes: Uint8Array,
  limits: BencodeLimits = {},
): { readonly value: BencodeValue; readonly end: number } {
  return new Decoder(bytes, limits).decode()
}

/** Anything that encodes: text is UTF-8; the keys of a map are bytes, as in {@link BencodeDict}. */
export type BencodeInput =
  | number
  | bigint
  | string
  | Uint8Array
  | readonly BencodeInput[]
  | ReadonlyMap<string, BencodeInput>
  | { readonly [key: string]: BencodeInput | undefined }

/**
 * Encodes with the keys sorted as raw bytes; fields that are undefined are left out.
 *
 * @throws TypeError for what bencode cannot say: fractions, unsafe numbers, keys of a map that are no bytes, values nested without end.
 */
export function encodeBencode(value: BencodeInput): Uint8Array {
  const parts: Uint8Array[] = []
  encodeInto(value, parts, 0)
  return concat(parts)
}

interface Frame {
  readonly list?: BencodeValue[] | undefined
  readonly dict?: BencodeDict | undefined
  readonly spans: number[]
  key: string | undefined
}

/** Every signed and unsigned 64-bit integer fits; more would only cost time to convert. */
const MAX_INTEGER_DIGITS = 20
const MAX_ENCODE_DEPTH = 1000
const DIGIT_0 = 0x30
const DIGIT_9 = 0x39
const COLON = 0x3a
const MINUS = 0x2d
const LETTER_D = 0x64
const LETTER_E = 0x65
const LETTER_I = 0x69
const LETTER_L = 0x6c

class Decoder {
  readonly #bytes: Uint8Array
  readonly #text: Buffer
  readonly #maxDepth: number
  readonly #stack: Frame[] = []
  #tokens: number
  #position = 0

  constructor(bytes: Uint8Array, limits: BencodeLimits) {
    const { buffer, byteOffset, byteLength } = bytes
    // Values are plain Uint8Arrays, also where a Buffer came in: its slice() would not copy.
    this.#bytes = new Uint8Array(buffer, byteOffset, byteLength)
    this.#text = Buffer.from(buffer, byteOffset, byteLength)
    this.#maxDepth = limits.maxDepth ?? defaultLimits.bencodeDepth
    this.#tokens = limits.maxTokens ?? defaultLimits.bencodeTokens
  }

  decode(): { readonly value: BencodeValue; readonly end: number } {
    for (;;) {
      const frame = this.#stack.at(-1)
      const value = this.#next(frame)
      if (value === undefined) continue
      const parent = this.#stack.at(-1)
      if (parent === undefined) return { value, end: this.#position }
      this.#attach(parent, value)
    }
  }

  /** One token. @returns a value that is complete, or undefined where more of it follows. */
  #next(frame: Frame | undefined): BencodeValue | undefined {
    const start = this.#position
    const byte = this.#bytes[start]
    if (byte === undefined) throw invalid('unexpected end', start)
    if (byte === LETTER_E && frame !== undefined) return this.#close(frame)
    if (frame?.dict !== undefined && frame.key === undefined)
      return this.#readKey(frame, frame.dict)
    if (byte >= DIGIT_0 && byte <= DIGIT_9) return this.#readString()
    if (byte === LETTER_I) return this.#readInteger()
    if (byte === LETTER_L || byte === LETTER_D) return this.#open(byte)
    throw invalid('expected a value', start)
  }

  #open(byte: number): undefined {
    if (this.#stack.length >= this.#maxDepth) {
      throw invalid(`nested deeper than ${this.#maxDepth}`, this.#position)
    }
    // A dictionary or a list takes more memory than an integer; the count stands for memory.
    this.#count(byte === LETTER_D ? 4 : 2)
    this.#position++
    const spans: number[] = []
    if (byte === LETTER_L) this.#stack.push({ list: [], spans, key: undefined })
    else this.#stack.push({ dict: new BencodeDict(this.#bytes, spans), spans, key: undefined })
  }

  #close(frame: Frame): BencodeValue {
    if (frame.key !== undefined) throw invalid('a key without a value', this.#position)
    this.#position++
    this.#stack.pop()
    return (frame.dict ?? frame.list) as BencodeValue
  }

  #attach(parent: Frame, value: BencodeValue): void {
    if (parent.list !== undefined) {
      parent.list.push(value)
    } else if (parent.dict !== undefined && parent.key !== undefined) {
      parent.dict.set(parent.key, value)
      parent.spans.push(this.#position)
      parent.key = undefined
    }
  }

  #readKey(frame: Frame, dict: BencodeDict): undefined {
    const start = this.#position
    this.#count(1)
    const length = this.#readLength()
    const key = this.#text.toString('latin1', this.#position, this.#position + length)
    if (dict.has(key)) throw invalid('the same key twice', start)
    this.#position += length
    frame.key = key
    frame.spans.push(this.#position)
  }

  #readString(): Uint8Array {
    this.#count(2)
    const length = this.#readLength()
    const start = this.#position
    this.#position += length
    return this.#bytes.subarray(start, this.#position)
  }

  /** Digits and the colon; the length never exceeds what is left of the input. */
  #readLength(): number {
    const start = this.#position
    const remaining = this.#bytes.length - start
    let length = 0
    for (let position = start; ; position++) {
      const byte = this.#bytes[position] ?? 0
      if (byte === COLON && position > start) {
        this.#position = position + 1
        if (length > this.#bytes.length - this.#position)
          throw invalid('a length past the end', start)
        return length
      }
      if (byte < DIGIT_0 || byte > DIGIT_9) throw invalid('expected a length', start)
      if (position > start && length === 0) throw invalid('a length with a leading zero', start)
      length = length * 10 + (byte - DIGIT_0)
      if (length > remaining) throw invalid('a length past the end', start)
    }
  }

  #readInteger(): number | bigint {
    const start = this.#position
    this.#count(1)
    const negative = this.#bytes[start + 1] === MINUS
    const first = start + (negative ? 2 : 1)
    let end = first
    for (; this.#isDigit(end); end++) {
      if (end - first >= MAX_INTEGER_DIGITS) throw invalid('an integer of too many digits', start)
    }
    if (end === first || this.#bytes[end] !== LETTER_E) throw invalid('expected an integer', start)
    if (this.#bytes[first] === DIGIT_0 && (negative || end - first > 1)) {
      throw invalid('an integer with a leading zero', start)
    }
    this.#position = end + 1
    const digits = this.#text.toString('latin1', start + 1, end)
    const value = Number(digits)
    return Number.isSafeInteger(value) ? value : BigInt(digits)
  }

  #isDigit(position: number): boolean {
    const byte = this.#bytes[position] ?? 0
    return byte >= DIGIT_0 && byte <= DIGIT_9
  }

  #count(tokens: number): void {
    this.#tokens -= tokens
    if (this.#tokens < 0) throw invalid('too many values', this.#position)
  }
}

function encodeInto(value: BencodeInput, parts: Uint8Array[], depth: number): void {
  if (depth > MAX_ENCODE_DEPTH) throw new TypeError('bencode cannot say values nested without end')
  if (typeof value === 'string' || value instanceof Uint8Array) {
    encodeString(value, parts)
  } else if (typeof value === 'number' || typeof value === 'bigint') {
    if (typeof value === 'number' && !Number.isSafeInteger(value)) {
      throw new TypeError(`bencode cannot say the number ${value}`)
    }
    parts.push(Buffer.from(`i${value}e`, 'latin1'))
  } else if (Array.isArray(value)) {
    parts.push(Buffer.from('l'))
    for (const item of value) encodeInto(item, parts, depth + 1)
    parts.push(Buffer.from('e'))
  } else {
    parts.push(Buffer.from('d'))
    for (const [key, item] of sortedEntries(value as EncodableDict)) {
      encodeString(Buffer.from(key, 'latin1'), parts)
      encodeInto(item, parts, depth + 1)
    }
    parts.push(Buffer.from('e'))
  }
}

type EncodableDict =
  | ReadonlyMap<string, BencodeInput>
  | { readonly [key: string]: BencodeInput | undefined }

/** Keys as one character per byte: comparing those is comparing raw bytes. */
function sortedEntries(dict: EncodableDict): [string, BencodeInput][] {
  const entries: [string, BencodeInput][] = []
  const isMap = dict instanceof Map
  for (const [key, value] of isMap ? dict : Object.entries(dict)) {
    if (value === undefined) continue
    if (isMap && /[^\0-\xff]/.test(key)) throw new TypeError('the keys of a map must be bytes')
    entries.push([isMap ? key : Buffer.from(key, 'utf8').toString('latin1'), value])
  }
  return entries.sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0))
}

function encodeString(value: string | Uint8Array, parts: Uint8Array[]): void {
  const bytes = typeof value === 'string' ? Buffer.from(value, 'utf8') : value
  parts.push(Buffer.from(`${bytes.length}:`, 'latin1'), bytes)
}

/** In a buffer of its own, never in the shared pool. */
function concat(parts: readonly Uint8Array[]): Uint8Array {
  const bytes = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0))
  let offset = 0
  for (const part of parts) {
    bytes.set(part, offset)
    offset += part.length
  }
  return bytes
}

function invalid(problem: string, offset: number): IsthmusError {
  return new IsthmusError('ISTHMUS_BENCODE_INVALID', `${problem} at byte ${offset}`)
}
