import { assertRange, type ByteRange } from '../byte-source.ts'

/**
 * Where a storage's `read` puts the bytes of `span`: `into` when given, else a buffer of its own that
 * is not zeroed, so it must be filled whole.
 *
 * @throws RangeError where `span` does not lie within `length`, or `into` is not as long as `span`.
 */
export function readBuffer(span: ByteRange, length: number, into?: Uint8Array): Uint8Array {
  assertRange(span, length)
  const size = span.end - span.start
  if (into === undefined) return new Uint8Array(Buffer.allocUnsafeSlow(size).buffer)
  if (into.length !== size) {
    throw new RangeError(`a buffer of ${into.length} bytes does not take ${size} bytes`)
  }
  return into
}
