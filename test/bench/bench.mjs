// `npm run bench`: what the README shows. Everything runs on loopback, one experiment after the other, each
// candidate in a process of its own; CPU seconds are user + system of that process.
import { spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { createServer } from 'node:net'
import { cpus, tmpdir, totalmem } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { endAll, start } from './child-process.mjs'
import { makeSample } from './sample-data.mjs'

const { values: options } = parseArgs({
  options: {
    runs: { type: 'string', default: '5' },
    megabytes: { type: 'string', default: '1024' },
  },
})
const runs = Number(options.runs)
const here = dirname(fileURLToPath(import.meta.url))
const node = process.execPath
const python = '/usr/bin/python3'
const script = (name) => join(here, name)
const memoryDisk = '/dev/shm'
const directory = mkdtempSync(
  join(existsSync(memoryDisk) ? memoryDisk : tmpdir(), 'isthmus-bench-'),
)
const rows = []

try {
  if (process.platform !== 'linux') throw new Error('the bench reads /proc, which only Linux has')
  const sample = makeSample(directory, Number(options.megabytes))
  await benchReceive()
  await benchStream(sample)
  await benchFirstByte(sample)
  print()
} finally {
  await endAll()
  rmSync(directory, { recursive: true, force: true })
}

async function benchReceive() {
  const sender = start(node, [script('receive.mjs'), 'send'])
  const port = await sender.line('READY')
  const bytes = 4 * 1024 ** 3
  const results = []
  for (let run = 0; run < runs; run++) {
    const receiver = start(node, [script('receive.mjs'), 'receive', port, String(bytes)])
    const { seconds, cpu } = JSON.parse(await receiver.line('DONE'))
    await receiver.end()
    results.push({ rate: bytes / seconds / 1e6, cpu: cpu / (bytes / 1e9) })
  }
  await sender.end()
  add('16 KiB blocks received, not hashed', 'isthmus', results)
}

async function benchStream(sample) {
  const seeder = await startSeeder(sample)
  const what = `torrent of ${options.megabytes} MiB from one seeder (${seeder.name})`
  const results = { file: [], memory: [], libtorrent: [], plain: [] }
  const plain = start(node, [script('serve-file.mjs'), sample.file])
  const plainUrl = `http://127.0.0.1:${await plain.line('READY')}/`
  for (let run = 0; run < runs; run++) {
    for (const store of ['file', 'memory'])
      results[store].push(await streamOnce(sample, seeder, store))
    if (hasLibtorrent()) results.libtorrent.push(await libtorrentOnce(sample, seeder))
    const before = plain.cpu()
    const { seconds } = await drain(plainUrl)
    results.plain.push(outcome(sample, seconds, plain.cpu() - before, plain.peakMiB()))
  }
  await plain.end()
  await seeder.end()
  add(`${what}, read over HTTP while it downloads`, 'isthmus, files', results.file)
  add('the same', 'isthmus, 64 MiB of memory', results.memory)
  if (results.libtorrent.length > 0) {
    add('the same torrent, downloaded to files, no HTTP', 'libtorrent', results.libtorrent)
  }
  add('the complete file over HTTP', 'node:http, createReadStream', results.plain)
}

async function streamOnce(sample, seeder, store, check = false) {
  const candidate = await startCandidate(sample, seeder, store)
  const before = candidate.cpu()
  const { seconds, firstByteMs, bytes, sha256 } = await drain(candidate.url, check)
  const cpu = candidate.cpu() - before
  const peak = candidate.peakMiB()
  await candidate.end()
  if (bytes !== sample.length) throw new Error(`${bytes} bytes of ${sample.length} came`)
  if (check && sha256 !== sample.sha256) throw new Error('the bytes are not those of the source')
  return { ...outcome(sample, seconds, cpu, peak), firstByteMs }
}

async function benchFirstByte(sample) {
  const seeder = await startSeeder(sample)
  const times = []
  for (let run = 0; run < Math.max(15, runs); run++) {
    const { firstByteMs } = await streamOnce(sample, seeder, 'file', true)
    times.push({ ms: firstByteMs })
  }
  await seeder.end()
  add('first byte, cold, peer known (every byte compared)', 'isthmus, files', times)
}

async function startCandidate(sample, seeder, store) {
  const folder = join(directory, 'candidate')
  rmSync(folder, { recursive: true, force: true })
  mkdirSync(folder)
  const httpPort = await freePort()
  const args = ['stream', sample.torrent, folder, String(httpPort), '0', seeder.address]
  const candidate = start(node, [script('candidate.mjs'), ...args], { STORE: store })
  candidate.url = (await candidate.line('READY')).split('#')[0]
  return candidate
}

/** Libtorrent where the machine has it, else one of our own. */
async function startSeeder(sample) {
  if (hasLibtorrent()) {
    const args = [
      'seed',
      '--torrent',
      sample.torrent,
      '--dir',
      directory,
      '--listen',
      '127.0.0.1:0',
    ]
    const seeder = start(python, [join(here, '../support/libtorrent_peer.py'), ...args])
    seeder.address = await seeder.line('READY')
    seeder.name = 'libtorrent'
    return seeder
  }
  const port = await freePort()
  const args = ['seed', sample.torrent, directory, String(await freePort()), String(port)]
  const seeder = start(node, [script('candidate.mjs'), ...args])
  await seeder.line('READY')
  seeder.address = `127.0.0.1:${port}`
  seeder.name = 'isthmus'
  return seeder
}

async function libtorrentOnce(sample, seeder) {
  const folder = join(directory, 'libtorrent')
  rmSync(folder, { recursive: true, force: true })
  mkdirSync(folder)
  const args = ['download', '--torrent', sample.torrent, '--dir', folder, '--listen', '127.0.0.1:0']
  const child = start(python, [
    join(here, '../support/libtorrent_peer.py'),
    ...args,
    '--peer',
    seeder.address,
  ])
  await child.line('READY')
  const ready = performance.now()
  const before = child.cpu()
  await child.line('DONE')
  const seconds = (performance.now() - ready) / 1000
  const result = outcome(sample, seconds, child.cpu() - before, child.peakMiB())
  await child.end()
  return result
}

async function drain(url, check = false) {
  const child = start(node, [script('drain.mjs'), url, ...(check ? ['sha256'] : [])])
  const result = JSON.parse(await child.line('DONE'))
  await child.end()
  return result
}

function outcome({ length }, seconds, cpu, peak) {
  return { rate: length / seconds / 1e6, cpu: cpu / (length / 1e9), peak }
}

function add(what, who, results) {
  const median = (key) => {
    const sorted = results.map((result) => result[key]).sort((a, b) => a - b)
    return sorted[Math.floor(sorted.length / 2)]
  }
  const cell = (key, digits) => (median(key) === undefined ? '' : median(key).toFixed(digits))
  const row = [what, who, cell('rate', 0), cell('cpu', 2), cell('peak', 0), cell('ms', 1)]
  rows.push(row)
  console.error(row.join(' | '))
}

function print() {
  const [cpu] = cpus()
  const versions = [`Node ${process.versions.node}`]
  if (hasLibtorrent()) versions.push(`libtorrent ${libtorrentVersion()}`)
  const memory = Math.round(totalmem() / 1024 ** 3)
  console.log(
    `${cpus().length} cores of ${cpu?.model.trim()}, ${memory} GiB, ${versions.join(', ')};`,
  )
  console.log(`medians of ${runs} runs (first byte: ${Math.max(15, runs)}). 1 GB is 10⁹ bytes.\n`)
  console.log('| what | who | MB/s | CPU-s/GB | peak RSS MiB | ms |')
  console.log('|---|---|---|---|---|---|')
  for (const row of rows) console.log(`| ${row.join(' | ')} |`)
}

function hasLibtorrent() {
  return libtorrentVersion() !== undefined
}

function libtorrentVersion() {
  const args = ['-c', 'import libtorrent; print(libtorrent.__version__)']
  const { status, stdout } = spawnSync(python, args, { encoding: 'utf8' })
  return status === 0 ? stdout.trim() : undefined
}

function freePort() {
  return new Promise((resolve) => {
    const server = createServer().listen(0, '127.0.0.1', () => {
      const { port } = server.address()
      server.close(() => resolve(port))
    })
  })
}
