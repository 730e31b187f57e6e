import { isIsthmusError } from '@isthmus/core'

/** For whoever runs the server: with the code where there is one, and what caused it. */
export function describeError(error: unknown): string {
  if (!(error instanceof Error)) return String(error)
  const code = isIsthmusError(error) ? ` (${error.code})` : ''
  const cause = error.cause instanceof Error ? error.cause.message : ''
  return `${error.message}${code}${error.message.includes(cause) ? '' : `: ${cause}`}`
}
