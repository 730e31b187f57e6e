import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { onTestFinished } from 'vitest'

type Started = { stop(): Promise<unknown> } | { close(): Promise<unknown> }

/** An empty directory that is gone after the running test. */
export async function temporaryDirectory(): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), 'isthmus-test-'))
  onTestFinished(() => rm(directory, { recursive: true, force: true }))
  return directory
}

/** Ends what was started when the running test ends, whatever its result; the last started goes first. */
export function endAfterTest<T extends Started>(started: T): T {
  onTestFinished(async () => {
    await ('stop' in started ? started.stop() : started.close())
  })
  return started
}
