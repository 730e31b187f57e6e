// What plain Node does: `serve-file.mjs FILE` answers every request with the file.
import { createReadStream, statSync } from 'node:fs'
import { createServer } from 'node:http'

const [file] = process.argv.slice(2)
const server = createServer((_, res) => {
  res.setHeader('content-length', statSync(file).size)
  createReadStream(file).pipe(res)
})
server.listen(0, '127.0.0.1', () => console.log('READY', server.address().port))
process.once('SIGTERM', () => process.exit())
