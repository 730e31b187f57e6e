import { IsthmusError } from '../errors.ts'
import { BencodeDict, type BencodeValue } from './bencode.ts'

/** @throws IsthmusError `ISTHMUS_METAINFO_INVALID` unless it is a dictionary. */
export function requireDict(value: BencodeValue | undefined, field: string): BencodeDict {
  if (value instanceof BencodeDict) return value
  throw invalidField(field, 'is not a dictionary')
}

export function requireList(
  value: BencodeValue | undefined,
  field: string,
): readonly BencodeValue[] {
  if (Array.isArray(value)) return value
  throw invalidField(field, 'is not a list')
}

export function requireBytes(value: BencodeValue | undefined, field: string): Uint8Array {
  if (value instanceof Uint8Array) return value
  throw invalidField(field, 'is not a byte string')
}

/** A whole number from 0 to 2^53-1. */
export function requireLength(value: BencodeValue | undefined, field: string): number {
  if (typeof value === 'number' && value >= 0) return value
  throw invalidField(field, 'is not a whole number from 0 to 2^53-1')
}

/** Valid UTF-8, else undefined. */
export function optionalText(value: BencodeValue | undefined): string | undefined {
  if (!(value instanceof Uint8Array)) return undefined
  try {
    return strictUtf8.decode(value)
  } catch {
    return undefined
  }
}

export function invalidField(field: string, problem: string): IsthmusError {
  return new IsthmusError('ISTHMUS_METAINFO_INVALID', `${field} ${problem}`)
}

const strictUtf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })
