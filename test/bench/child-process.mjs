// A child process that says on stdout when it is ready.
import { spawn } from 'node:child_process'
import { createInterface } from 'node:readline'
import { cpuSeconds, peakMiB } from './process-usage.mjs'

const live = new Set()

/** Ends every child that is still there. */
export async function endAll() {
  await Promise.all([...live].map((child) => child.end()))
}

export function start(command, args, env = {}) {
  const child = spawn(command, args, {
    stdio: ['pipe', 'pipe', 'inherit'],
    env: { ...process.env, ...env },
  })
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]()
  const ended = new Promise((resolve) => child.once('close', resolve))
  const handle = {
    /** What stands behind `word` on the next line that begins with it. */
    async line(word) {
      for (;;) {
        const { value, done } = await lines.next()
        if (done) throw new Error(`${command} ${args[0]} ended before it said ${word}`)
        if (value.startsWith(word)) return value.slice(word.length).trim()
      }
    },
    say: (text) => child.stdin.write(`${text}\n`),
    cpu: () => cpuSeconds(child.pid),
    peakMiB: () => peakMiB(child.pid),
    async end() {
      live.delete(handle)
      child.kill('SIGTERM')
      await ended
    },
  }
  live.add(handle)
  return handle
}
