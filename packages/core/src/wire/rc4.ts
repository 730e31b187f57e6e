const LITTLE_ENDIAN = new Uint8Array(Uint16Array.of(1).buffer)[0] === 1

// Below this a view over words costs more than it brings.
const WORDS_FROM = 32

/** The RC4 key stream of one direction, from a key of 1 to 256 bytes. Encrypting and decrypting are the same. */
export class Rc4 {
  // Words make the fastest table: what is read needs no widening.
  readonly #state = new Int32Array(256)
  #i = 0
  #j = 0

  constructor(key: Uint8Array) {
    if (key.length === 0 || key.length > 256) throw new RangeError('an RC4 key has 1 to 256 bytes')
    const state = this.#state
    for (let i = 0; i < 256; i++) state[i] = i
    for (let i = 0, j = 0; i < 256; i++) {
      const x = state[i] as number
      j = (j + x + (key[i % key.length] as number)) & 255
      state[i] = state[j] as number
      state[j] = x
    }
  }

  /** Changes `bytes` in place, which it answers. */
  apply(bytes: Uint8Array): Uint8Array {
    const { length } = bytes
    if (length < WORDS_FROM || !LITTLE_ENDIAN) {
      this.#applyBytes(bytes, 0, length)
      return bytes
    }
    const start = -bytes.byteOffset & 3
    const words = (length - start) >> 2
    this.#applyBytes(bytes, 0, start)
    this.#applyWords(new Int32Array(bytes.buffer, bytes.byteOffset + start, words))
    this.#applyBytes(bytes, start + 4 * words, length)
    return bytes
  }

  /** Throws away as many bytes of the key stream. */
  skip(length: number): void {
    this.apply(new Uint8Array(length))
  }

  #applyBytes(bytes: Uint8Array, start: number, end: number): void {
    const state = this.#state
    let i = this.#i
    let j = this.#j
    for (let at = start; at < end; at++) {
      i = (i + 1) & 255
      const x = state[i] as number
      j = (j + x) & 255
      const y = state[j] as number
      state[i] = y
      state[j] = x
      bytes[at] = (bytes[at] as number) ^ (state[(x + y) & 255] as number)
    }
    this.#i = i
    this.#j = j
  }

  // Four bytes of key stream at a time: twice as fast as the loop above, and this is the one place
  // where every byte of a connection passes through JavaScript.
  #applyWords(words: Int32Array): void {
    const state = this.#state
    const { length } = words
    let i = this.#i
    let j = this.#j
    for (let at = 0; at < length; at++) {
      const i1 = (i + 1) & 255
      const x1 = state[i1] as number
      j = (j + x1) & 255
      const y1 = state[j] as number
      state[i1] = y1
      state[j] = x1
      const k1 = state[(x1 + y1) & 255] as number
      const i2 = (i + 2) & 255
      const x2 = state[i2] as number
      j = (j + x2) & 255
      const y2 = state[j] as number
      state[i2] = y2
      state[j] = x2
      const k2 = state[(x2 + y2) & 255] as number
      const i3 = (i + 3) & 255
      const x3 = state[i3] as number
      j = (j + x3) & 255
      const y3 = state[j] as number
      state[i3] = y3
      state[j] = x3
      const k3 = state[(x3 + y3) & 255] as number
      i = (i + 4) & 255
      const x4 = state[i] as number
      j = (j + x4) & 255
      const y4 = state[j] as number
      state[i] = y4
      state[j] = x4
      const k4 = state[(x4 + y4) & 255] as number
      words[at] = (words[at] as number) ^ (k1 | (k2 << 8) | (k3 << 16) | (k4 << 24))
    }
    this.#i = i
    this.#j = j
  }
}
