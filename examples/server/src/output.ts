/** Takes one line for whoever started the server. */
export type Output = (line: string) => void

/** Lines on standard output; a reader that left is no failure. */
export function standardOutput(): Output {
  process.stdout.on('error', () => {})
  process.stderr.on('error', () => {})
  return (line) => {
    process.stdout.write(`${line}\n`)
  }
}
