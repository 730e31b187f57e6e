import { isIsthmusError } from '@isthmus/core'
import { describeError } from './describe-error.ts'
import { helpText } from './help.ts'
import { standardOutput } from './output.ts'
import { readSettings } from './read-settings.ts'
import { startServer } from './server.ts'
import { closeOnSignals, surviveFailures } from './shutdown.ts'

const output = standardOutput()

try {
  const invocation = await readSettings(process.argv.slice(2), process.env)
  if (invocation.kind === 'help') {
    output(helpText())
  } else {
    surviveFailures()
    const starting = startServer(invocation.settings, output)
    // From the first moment: starting may take a while too.
    closeOnSignals(async () => (await starting).close(), output)
    await starting
  }
} catch (error) {
  console.error(`isthmus: ${describeError(error)}`)
  process.exitCode = isConfigurationError(error) ? 2 : 1
}

function isConfigurationError(error: unknown): boolean {
  return (
    isIsthmusError(error, 'ISTHMUS_CONFIG_INVALID') ||
    isIsthmusError(error, 'ISTHMUS_CONFIG_UNSUPPORTED')
  )
}
