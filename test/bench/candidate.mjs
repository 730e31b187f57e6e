// What an outside harness runs to put Isthmus beside other programs: one mode per call, nothing on
// stdout but the lines that it waits for, SIGTERM ends it cleanly.
//
//   stream TORRENT DIR HTTPPORT PEERPORT [PEER,…]   READY url#name …   (STORE=memory: 64 MiB, no files)
//   seed   TORRENT DIR HTTPPORT PEERPORT            READY url#name …
//   get    TORRENT DIR HTTPPORT PEERPORT [PEER]     READY, waits for a line, DONE seconds
//   idle   TORRENTS_DIR DIR HTTPPORT PEERPORT       READY
import { once } from 'node:events'
import { readdirSync, readFileSync } from 'node:fs'
import { createServer } from 'node:http'
import { join } from 'node:path'
import { AddressPolicy, Client, EgressGuard, MemoryStorage } from '@isthmus/core'
import { allowAll, createHandler, toNodeListener, warmUp } from '@isthmus/http'
import { FileStorage } from '@isthmus/storage-file'

const MIB = 1024 * 1024
const [mode = '', source = '', directory = '', httpPort = '0', peerPort = '0', peers = ''] =
  process.argv.slice(2)

const modes = { stream, seed, get, idle }
const run = modes[mode]
if (run === undefined) {
  console.error(`candidate: there is no mode ${JSON.stringify(mode)} yet`)
  process.exit(2)
}

const storage =
  process.env.STORE === 'memory'
    ? new MemoryStorage({ maxBytes: 64 * MIB })
    : new FileStorage({ directory })
const egress = new EgressGuard({
  policy: new AddressPolicy({ allow: ['127.0.0.0/8', '10.99.0.1/32'] }),
})
const client = new Client({
  storage,
  egress,
  trackers: false,
  listen: { host: '0.0.0.0', port: Number(peerPort) },
})
client.on('warning', (error) => console.error(error.code, error.message))
let server
process.once('SIGTERM', async () => {
  server?.closeAllConnections()
  server?.close()
  await client.close()
  await egress.close()
})
await run()

async function stream() {
  // What the bundled server does too before it says that it listens.
  await warmUp()
  const torrent = await client.add(readFileSync(source))
  await torrent.ready()
  let connected = peers === ''
  await listen(() => {
    if (connected) return
    connected = true
    torrent.addPeers(peers.split(','))
  })
  ready(torrent)
}

async function seed() {
  const torrent = await client.add(readFileSync(source))
  await torrent.verify()
  if (!torrent.isComplete) throw new Error('the files are not those of the torrent')
  await listen(() => {})
  ready(torrent)
}

async function get() {
  console.log('READY')
  await once(process.stdin, 'data')
  const start = performance.now()
  const torrent = await client.add(readFileSync(source), {
    peers: peers === '' ? [] : peers.split(','),
  })
  await torrent.download()
  console.log('DONE', (performance.now() - start) / 1000)
}

async function idle() {
  const files = readdirSync(source).filter((name) => name.endsWith('.torrent'))
  for (const name of files) {
    const torrent = await client.add(readFileSync(join(source, name)))
    await torrent.ready()
  }
  console.log('READY')
}

async function listen(onRequest) {
  const listener = toNodeListener(createHandler({ client, authorize: allowAll }))
  server = createServer((req, res) => {
    onRequest()
    listener(req, res)
  })
  server.listen(Number(httpPort), '127.0.0.1')
  await once(server, 'listening')
}

function ready(torrent) {
  const urls = torrent.files.map(({ path, name }) => {
    const encoded = path.split('/').map(encodeURIComponent).join('/')
    return `http://127.0.0.1:${httpPort}/${torrent.infoHash}/${encoded}#${encodeURIComponent(name)}`
  })
  console.log('READY', ...urls)
}
