const ALPHABET = 'ABCDEFGHIJKLMNOPQRSTUVWXYZ234567'

/** RFC 4648 §6, either case, without padding. @returns undefined for any other character or spare bits. */
export function decodeBase32(text: string): Uint8Array | undefined {
  // Upper case is asked of ASCII only: that of a dotless i would be I.
  if (!/^[a-z2-7]*$/i.test(text)) return undefined
  const bytes = new Uint8Array(Math.floor((text.length * 5) / 8))
  let buffer = 0
  let bits = 0
  let length = 0
  for (const character of text.toUpperCase()) {
    buffer = ((buffer << 5) | ALPHABET.indexOf(character)) & 0xfff
    bits += 5
    if (bits >= 8) {
      bits -= 8
      bytes[length++] = (buffer >> bits) & 0xff
    }
  }
  const spare = buffer & ((1 << bits) - 1)
  return bits < 5 && spare === 0 ? bytes : undefined
}
