import { describeError } from './describe-error.ts'
import type { Output } from './output.ts'

/** A terminal and the program between may both pass on the same key press. */
const sameKeyMs = 500

/** Closes on SIGINT and SIGTERM and ends the process; the second time, at once. */
export function closeOnSignals(close: () => Promise<void>, output: Output): void {
  let since: number | undefined
  const onSignal = (signal: NodeJS.Signals) => {
    if (since !== undefined) {
      if (performance.now() - since > sameKeyMs) process.exit(130)
      return
    }
    since = performance.now()
    output(`${signal}: closing (once more to exit at once)`)
    close().then(
      () => process.exit(0),
      (error: unknown) => {
        output(`closing failed: ${describeError(error)}`)
        process.exit(1)
      },
    )
  }
  process.on('SIGINT', onSignal)
  process.on('SIGTERM', onSignal)
}

/** Whatever nobody caught is told, and is no reason to leave everybody else without an answer. */
export function surviveFailures(): void {
  process.on('uncaughtException', (error) => console.error('uncaught exception:', error))
  process.on('unhandledRejection', (error) => console.error('unhandled rejection:', error))
}
