// Reads a URL whole and drops what comes, or hashes it: `drain.mjs URL [sha256]` prints seconds to the
// first body byte, seconds in all, bytes, and the hash.
import { createHash } from 'node:crypto'
import { get } from 'node:http'

const [url, hashed] = process.argv.slice(2)
const hash = hashed === undefined ? undefined : createHash('sha256')
const start = performance.now()
let first
let bytes = 0
get(url, { agent: false }, (response) => {
  if (response.statusCode !== 200) throw new Error(`status ${response.statusCode}`)
  response.on('data', (chunk) => {
    first ??= performance.now()
    bytes += chunk.length
    hash?.update(chunk)
  })
  response.on('end', () => {
    const seconds = (performance.now() - start) / 1000
    const result = { firstByteMs: first - start, seconds, bytes, sha256: hash?.digest('hex') }
    console.log('DONE', JSON.stringify(result))
  })
})
