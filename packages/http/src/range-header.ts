import type { ByteRange } from '@isthmus/core'
import rangeParser from 'range-parser'

/** Parts of one answer. More would only serve whoever wants to make us work (RFC 9110 §17.15). */
export const maxRanges = 16

interface Spec {
  /** Digits without leading zeros; undefined in a suffix (`-500`). */
  readonly first?: string | undefined
  readonly last?: string | undefined
}

/**
 * Which bytes of `length` a Range header (RFC 9110 §14.2) asks for, in the order asked.
 *
 * `whole` where the header has to be, or may be, ignored: absent, another unit, malformed.
 * `unsatisfiable` where none of it lies within, or it asks for more than {@link maxRanges} ranges,
 * for one byte three times, or for more bytes than there are.
 */
export function resolveRanges(
  header: string | null,
  length: number,
): readonly ByteRange[] | 'whole' | 'unsatisfiable' {
  const specs = header === null ? undefined : parseSpecs(header)
  if (specs === undefined) return 'whole'
  if (specs.length > maxRanges) return 'unsatisfiable'
  // RFC 9110 §14.1.2: any suffix but an empty one is satisfiable, also of nothing.
  if (length === 0 && specs.some(isSuffix)) return 'whole'
  const normalised = specs.map((spec) => normalise(spec, length)).filter((text) => text !== '')
  if (normalised.length === 0) return 'unsatisfiable'
  const resolved = rangeParser(length, `bytes=${normalised.join(',')}`)
  if (typeof resolved === 'number') return 'unsatisfiable'
  const ranges = resolved.map(({ start, end }) => ({ start, end: end + 1 }))
  return isAbusive(ranges, length) ? 'unsatisfiable' : ranges
}

/** @returns undefined where the header is not a valid set of byte ranges. */
function parseSpecs(header: string): Spec[] | undefined {
  // Unit names are case-insensitive (RFC 9110 §14.1).
  const set = /^bytes=(.*)$/i.exec(header)?.[1]
  if (set === undefined) return undefined
  const specs: Spec[] = []
  for (const raw of set.split(',')) {
    const member = raw.replace(/^[ \t]+/, '').replace(/[ \t]+$/, '')
    // RFC 9110 §5.6.1.2: empty list members are ignored.
    if (member === '') continue
    const match = /^(\d*)-(\d*)$/.exec(member)
    const [first, last] = [digits(match?.[1]), digits(match?.[2])]
    if (first === undefined && last === undefined) return undefined
    if (first !== undefined && last !== undefined && isLess(last, first)) return undefined
    specs.push({ first, last })
  }
  return specs.length === 0 ? undefined : specs
}

function digits(text: string | undefined): string | undefined {
  if (text === undefined || text === '') return undefined
  return text.replace(/^0+(?=\d)/, '')
}

/** Numerals have no upper bound, so they are compared as text. */
function isLess(a: string, b: string): boolean {
  return a.length === b.length ? a < b : a.length < b.length
}

function isSuffix(spec: Spec): boolean {
  return spec.first === undefined && spec.last !== '0'
}

/** The spec in numbers that are exact and within `length`; '' where nothing of it is there. */
function normalise({ first, last }: Spec, length: number): string {
  if (first !== undefined) return `${bounded(first)}-${last === undefined ? '' : bounded(last)}`
  const suffix = bounded(last ?? '0')
  if (suffix === 0) return ''
  return suffix >= length ? '0-' : `-${suffix}`
}

function bounded(numeral: string): number {
  return Math.min(Number(numeral), Number.MAX_SAFE_INTEGER)
}

function isAbusive(ranges: readonly ByteRange[], length: number): boolean {
  let asked = 0
  for (const { start, end } of ranges) {
    asked += end - start
    const covering = ranges.filter((other) => other.start <= start && start < other.end)
    if (covering.length > 2) return true
  }
  return ranges.length > 1 && asked > length
}
