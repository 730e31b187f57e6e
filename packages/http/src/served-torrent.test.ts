import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Client, encodeBencode, FolderStorage, formatPeerAddress } from '@isthmus/core'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { allowAll } from './authorizer.ts'
import { pattern } from './fake-client.ts'
import { createHandler, type Handler } from './handler.ts'
import { toNodeListener } from './node-listener.ts'

const pieceLength = 32_768
const files = new Map([
  ['one.mkv', pattern(1_000_001)],
  ['two ~&.txt', pattern(40_000).reverse()],
])
const { torrent, infoHash } = makeTorrent()

let directory: string
let seeder: Client
let client: Client
let handler: Handler
let url: string
let stopServing: () => void

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'isthmus-http-'))
  await mkdir(join(directory, 'some'))
  for (const [name, bytes] of files) await writeFile(join(directory, 'some', name), bytes)
  const listen = { host: '127.0.0.1' }
  seeder = new Client({ listen })
  const seeded = await seeder.seed(torrent, new FolderStorage({ directory }), { announce: false })
  await seeded.verify()
  client = new Client({ listen })
  handler = createHandler({ client, authorize: allowAll })
  const server = createServer(toNodeListener(handler)).listen(0, '127.0.0.1')
  await once(server, 'listening')
  url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  stopServing = () => {
    server.closeAllConnections()
    server.close()
  }
})

afterEach(async () => {
  stopServing()
  await handler.close()
  await client.close()
  await seeder.close()
  await rm(directory, { recursive: true })
})

function makeTorrent() {
  const content = Buffer.concat([...files.values()])
  const hashes: Buffer[] = []
  for (let start = 0; start < content.length; start += pieceLength) {
    const piece = content.subarray(start, start + pieceLength)
    hashes.push(createHash('sha1').update(piece).digest())
  }
  const info = {
    files: [...files].map(([name, { length }]) => ({ length, path: [name] })),
    ...{ name: 'some', 'piece length': pieceLength, pieces: Buffer.concat(hashes) },
  }
  const digest = createHash('sha1').update(encodeBencode(info)).digest('hex')
  return { torrent: encodeBencode({ info }), infoHash: digest }
}

function peer(): string {
  const { address } = seeder
  return address === undefined ? '' : formatPeerAddress(address)
}

function fileUrl(name: string): string {
  return `${url}/${infoHash}/some/${encodeURIComponent(name)}`
}

async function post(target: string, type: string, body: string | Uint8Array) {
  const headers = { 'content-type': type }
  const response = await fetch(url + target, { method: 'POST', headers, body } as RequestInit)
  return { status: response.status, json: await response.json() }
}

async function expectFiles() {
  for (const [name, bytes] of files) {
    const response = await fetch(fileUrl(name))
    expect(response.status).toBe(200)
    expect(Buffer.compare(new Uint8Array(await response.arrayBuffer()), bytes)).toBe(0)
  }
}

test('a .torrent is read over HTTP while it downloads, the end of a file first', async () => {
  const target = `/api/torrents?peer=${encodeURIComponent(peer())}`
  const added = await post(target, 'application/x-bittorrent', torrent)
  expect(added).toMatchObject({
    status: 201,
    json: {
      ...{ infoHash, name: 'some', length: 1_040_001, pieceLength, progress: 0 },
      files: [
        { index: 0, path: 'some/one.mkv', length: 1_000_001 },
        { index: 1, path: 'some/two ~&.txt', length: 40_000 },
      ],
    },
  })
  const tail = await fetch(fileUrl('one.mkv'), { headers: { range: 'bytes=-10' } })
  expect(tail.status).toBe(206)
  expect(new Uint8Array(await tail.arrayBuffer())).toEqual(files.get('one.mkv')?.slice(-10))
  await expectFiles()
  const told = await (await fetch(`${url}/api/torrents/${infoHash}`)).json()
  expect(told).toMatchObject({ progress: 1, files: [{ progress: 1 }, { progress: 1 }] })
})

test('an info hash is answered 202 at once, and read once a peer gave its metadata', async () => {
  const added = await post('/api/torrents', 'application/json', JSON.stringify({ infoHash }))
  expect(added).toMatchObject({ status: 202, json: { infoHash, progress: 0, peers: 0 } })
  const body = JSON.stringify({ peers: [peer()] })
  const peers = await post(`/api/torrents/${infoHash}/peers`, 'application/json', body)
  expect(peers).toEqual({ status: 200, json: { added: 1 } })
  await expectFiles()
})

test('a HEAD of a torrent that nobody added waits for its metadata alone', async () => {
  const head = fetch(fileUrl('one.mkv'), { method: 'HEAD' })
  await once(client, 'torrent')
  client.get(infoHash)?.addPeers([peer()])
  const response = await head
  expect(response.status).toBe(200)
  expect(response.headers.get('content-length')).toBe('1000001')
  expect(response.headers.get('etag')).toMatch(/^"[^"]+"$/)
  expect(client.get(infoHash)?.downloaded).toBe(0)
})

test('without any peer it is 504', async () => {
  const metadata = await fetch(`${fileUrl('one.mkv')}?timeout=50ms`)
  expect(metadata.status).toBe(504)
  expect(await metadata.json()).toMatchObject({ code: 'ISTHMUS_METADATA_TIMEOUT' })
  await post('/api/torrents', 'application/x-bittorrent', torrent)
  const pieces = await fetch(`${fileUrl('one.mkv')}?timeout=50ms`)
  expect(pieces.status).toBe(504)
  expect(await pieces.json()).toMatchObject({ code: 'ISTHMUS_SWARM_TIMEOUT' })
})

test('a torrent that is removed while it is read resets the connection', async () => {
  await post('/api/torrents', 'application/x-bittorrent', torrent)
  const added = client.get(infoHash)
  added?.addPeers([peer()])
  // The second file, and with its first piece the end of the first one; then nothing more comes.
  await added?.download({ files: [1] })
  await seeder.close()
  const headers = { range: 'bytes=1000000-,0-0' }
  const response = await fetch(fileUrl('one.mkv'), { headers })
  expect(response.status).toBe(206)
  await client.remove(infoHash)
  await expect(response.arrayBuffer()).rejects.toThrow()
})
