/**
 * Copies all of `source` to `at` in `target`; either may be shared memory. The engine copies shared
 * memory word by word, which cost a stream a sixth of its CPU time; Node's `fill` copies it whole, and
 * costs a little more where nothing is shared.
 */
export function copyBytes(source: Uint8Array, target: Uint8Array, at: number): void {
  const shared =
    target.buffer instanceof SharedArrayBuffer || source.buffer instanceof SharedArrayBuffer
  if (!shared) target.set(source, at)
  // An empty pattern would be a fill with zeros.
  else if (source.length > 0) fill.call(target as Buffer, source, at, at + source.length)
}

const { fill } = Buffer.prototype
