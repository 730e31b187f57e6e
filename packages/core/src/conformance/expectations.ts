import { type ErrorCode, IsthmusError, isIsthmusError } from '../errors.ts'
import type { ConformanceCase } from './conformance-case.ts'

/** A case whose every failure, its own or one that the adapter threw, names the promise that was broken. */
export function conformanceCase(name: string, body: () => Promise<void>): ConformanceCase {
  return {
    name,
    async run() {
      try {
        await body()
      } catch (cause) {
        const problem = cause instanceof Error ? cause.message : String(cause)
        const text = `${name}: ${problem}`
        throw new IsthmusError('ISTHMUS_CONFORMANCE_FAILED', text, { cause })
      }
    },
  }
}

/** @throws Error with `broken`, a whole sentence about what is wrong, unless `kept`. */
export function expectThat(kept: boolean, broken: string): asserts kept {
  if (!kept) throw new Error(broken)
}

export function expectBytes(actual: Uint8Array, expected: Uint8Array, where: string): void {
  expectThat(actual instanceof Uint8Array, `${where} did not answer a Uint8Array`)
  expectThat(
    actual.length === expected.length,
    `${where} answered ${actual.length} bytes instead of ${expected.length}`,
  )
  const wrong = actual.findIndex((byte, index) => byte !== expected[index])
  expectThat(wrong === -1, `${where} answered wrong bytes, from the ${wrong + 1}th on`)
}

/** The promise must reject with an `IsthmusError` of this code. */
export async function expectCode(
  promise: Promise<unknown>,
  code: ErrorCode,
  what: string,
): Promise<void> {
  const error = await rejection(promise, `${what} did not reject with ${code}`)
  expectThat(isIsthmusError(error, code), `${what} rejected with ${error} instead of ${code}`)
}

/** The promise must reject with exactly `reason`. */
export async function expectReason(
  promise: Promise<unknown>,
  reason: unknown,
  what: string,
): Promise<void> {
  const error = await rejection(promise, `${what} went on although its signal was aborted`)
  expectThat(error === reason, `${what} rejected with ${error} instead of signal.reason`)
}

/** Whether the promise is still waiting after everything that was due has run. */
export async function isWaiting(promise: Promise<unknown>): Promise<boolean> {
  let waiting = true
  const settle = () => {
    waiting = false
  }
  promise.then(settle, settle)
  for (let turn = 0; turn < 5; turn++) await new Promise((resolve) => setImmediate(resolve))
  return waiting
}

async function rejection(promise: Promise<unknown>, otherwise: string): Promise<unknown> {
  try {
    await promise
  } catch (error) {
    return error
  }
  throw new Error(otherwise)
}
