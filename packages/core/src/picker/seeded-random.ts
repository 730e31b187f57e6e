/** Numbers from 0 up to 1, the same ones for the same seed on every machine (mulberry32). */
export function seededRandom(seed: number): () => number {
  let state = seed | 0
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
}

/** The seed of one part of many, so that what one part draws does not change what the others do. */
export function seedOf(seed: number, part: number): number {
  return (seed ^ Math.imul(part + 1, 0x9e3779b1)) | 0
}
