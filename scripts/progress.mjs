import { spawn } from 'node:child_process'

/**
 * Runs one step and says so: a line when it starts, the seconds while it runs, a line when it is done.
 * What the command prints is kept back and shown only where it fails.
 *
 * @returns {Promise<boolean>} whether it ended with 0
 */
export async function runStep(title, command, args, options = {}) {
  const started = performance.now()
  const seconds = () => `${((performance.now() - started) / 1000).toFixed(1)} s`
  const live = process.stdout.isTTY
  process.stdout.write(live ? `${title} …` : `${title} …\n`)
  const ticker = setInterval(
    () => process.stdout.write(live ? `\r${title} … ${seconds()}` : `${title} … ${seconds()}\n`),
    live ? 500 : 5000,
  )
  const { code, output } = await capture(command, args, options)
  clearInterval(ticker)
  process.stdout.write(
    `${live ? '\r' : ''}${title}: ${code === 0 ? 'done' : 'failed'} in ${seconds()}\n`,
  )
  if (code !== 0) process.stderr.write(output)
  return code === 0
}

function capture(command, args, options) {
  return new Promise((resolve) => {
    const child = spawn(command, args, { ...options, stdio: ['ignore', 'pipe', 'pipe'] })
    const chunks = []
    child.stdout.on('data', (chunk) => chunks.push(chunk))
    child.stderr.on('data', (chunk) => chunks.push(chunk))
    child.on('error', (error) => resolve({ code: -1, output: `${error.message}\n` }))
    child.on('close', (code) => resolve({ code, output: Buffer.concat(chunks).toString() }))
  })
}
