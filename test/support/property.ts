import fc from 'fast-check'

/**
 * How a property test runs: 100,000 cases (or `cases`, where each is a whole story) from a seed that
 * is printed, so that a failure can be run again with `ISTHMUS_TEST_SEED=…` (fast-check's own failure
 * message names the seed too). `ISTHMUS_TEST_CASES` changes the number of cases.
 */
export function propertyOptions(
  name: string,
  cases = 100_000,
): {
  readonly numRuns: number
  readonly seed: number
} {
  const numRuns = readInteger('ISTHMUS_TEST_CASES') ?? cases
  const seed = readInteger('ISTHMUS_TEST_SEED') ?? Math.floor(Math.random() * 2 ** 31)
  console.log(`property: ${name}: ${numRuns} cases, ISTHMUS_TEST_SEED=${seed}`)
  return { numRuns, seed }
}

/** A setting that is there but makes no sense must not quietly become the default. */
function readInteger(variable: string): number | undefined {
  const text = process.env[variable]
  if (text === undefined || text === '') return undefined
  const value = Number(text)
  if (!Number.isInteger(value)) throw new RangeError(`${variable} is not an integer: ${text}`)
  return value
}

/**
 * Byte strings that are almost one of `samples`: some bytes changed, put in, taken out or doubled,
 * numbers made hostile, the end cut off, another sample's middle in its own.
 */
export function mutationsOf(samples: readonly Uint8Array[]): fc.Arbitrary<Uint8Array> {
  const sample = fc.constantFrom(...samples)
  const mutation = fc.record({
    kind: fc.constantFrom('flip', 'insert', 'remove', 'double', 'number', 'cut', 'splice'),
    at: fc.nat(0xffff),
    length: fc.integer({ min: 1, max: 40 }),
    bytes: fc.uint8Array({ minLength: 1, maxLength: 4 }),
    number: fc.constantFrom(...HOSTILE_NUMBERS),
    other: sample,
  })
  return fc
    .tuple(sample, fc.array(mutation, { minLength: 1, maxLength: 3 }))
    .map(([bytes, mutations]) => mutations.reduce(mutate, Buffer.from(bytes)))
    .map((bytes) => Uint8Array.from(bytes))
}

const HOSTILE_NUMBERS = [
  '0',
  '-1',
  '00',
  '-0',
  '1.5',
  '16383',
  '16384',
  '2147483648',
  '4294967296',
  '9007199254740991',
  '9007199254740992',
  '18446744073709551616',
  '99999999999999999999999',
]

interface Mutation {
  readonly kind: string
  readonly at: number
  readonly length: number
  readonly bytes: Uint8Array
  readonly number: string
  readonly other: Uint8Array
}

function mutate(bytes: Buffer, mutation: Mutation): Buffer {
  const at = mutation.at % (bytes.length + 1)
  const end = Math.min(at + mutation.length, bytes.length)
  const [head, middle, tail] = [bytes.subarray(0, at), bytes.subarray(at, end), bytes.subarray(end)]
  switch (mutation.kind) {
    case 'flip':
      return Buffer.concat([head, mutation.bytes, bytes.subarray(at + mutation.bytes.length)])
    case 'insert':
      return Buffer.concat([head, mutation.bytes, middle, tail])
    case 'remove':
      return Buffer.concat([head, tail])
    case 'double':
      return Buffer.concat([head, middle, middle, tail])
    case 'number':
      return replaceNumber(bytes, at, mutation.number)
    case 'cut':
      return head
    default:
      return Buffer.concat([head, mutation.other.subarray(at, at + mutation.length), tail])
  }
}

/** The first run of digits behind `at` becomes `number`. */
function replaceNumber(bytes: Buffer, at: number, number: string): Buffer {
  const text = bytes.toString('latin1')
  const rest = text.slice(at).replace(/[0-9]+/, number)
  return Buffer.from(text.slice(0, at) + rest, 'latin1')
}
