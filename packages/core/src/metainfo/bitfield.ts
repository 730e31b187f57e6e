/** One bit per piece, most significant bit first, the spare bits of the last byte zero (BEP 3). */
export class Bitfield {
  /** The bits as they go over the wire. Not a copy. */
  readonly bytes: Uint8Array
  readonly length: number
  #count = 0

  constructor(length: number) {
    this.length = length
    this.bytes = new Uint8Array(Math.ceil(length / 8))
  }

  /** @returns undefined where the number of bytes or the spare bits are wrong. */
  static from(bytes: Uint8Array, length: number): Bitfield | undefined {
    if (bytes.length !== Math.ceil(length / 8)) return undefined
    const bitfield = new Bitfield(length)
    const spare = bytes.length * 8 - length
    const last = bytes.at(-1) ?? 0
    if ((last & ((1 << spare) - 1)) !== 0) return undefined
    bitfield.bytes.set(bytes)
    bitfield.#count = countBits(bytes)
    return bitfield
  }

  static full(length: number): Bitfield {
    const bitfield = new Bitfield(length)
    bitfield.fill()
    return bitfield
  }

  /** How many bits are set. */
  get count(): number {
    return this.#count
  }

  get isFull(): boolean {
    return this.#count === this.length
  }

  has(index: number): boolean {
    return ((this.bytes[index >> 3] ?? 0) & (0x80 >> (index & 7))) !== 0
  }

  /** @returns whether the bit changed. */
  set(index: number): boolean {
    if (index < 0 || index >= this.length || this.has(index)) return false
    this.bytes[index >> 3] = (this.bytes[index >> 3] ?? 0) | (0x80 >> (index & 7))
    this.#count++
    return true
  }

  /** @returns whether the bit changed. */
  clear(index: number): boolean {
    if (!this.has(index)) return false
    this.bytes[index >> 3] = (this.bytes[index >> 3] ?? 0) & ~(0x80 >> (index & 7))
    this.#count--
    return true
  }

  fill(): void {
    this.bytes.fill(0xff)
    const spare = this.bytes.length * 8 - this.length
    if (spare > 0) this.bytes[this.bytes.length - 1] = (0xff << spare) & 0xff
    this.#count = this.length
  }

  copy(): Bitfield {
    const other = new Bitfield(this.length)
    other.bytes.set(this.bytes)
    other.#count = this.#count
    return other
  }
}

function countBits(bytes: Uint8Array): number {
  let count = 0
  for (let byte of bytes) {
    for (; byte !== 0; byte &= byte - 1) count++
  }
  return count
}
