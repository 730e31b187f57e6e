import { expect, test } from 'vitest'
import { BarePeer, type BarePeerOptions } from '../support/bare-peer.ts'
import { endAfterTest } from '../support/cleanup.ts'
import { describeWith } from '../support/clients.ts'
import { fewFiles, manyFiles } from '../support/content.ts'
import { expectFiles, expectWholeAndRanges } from '../support/expectations.ts'
import { json, sha256 } from '../support/request.ts'
import { Server, targetOf } from '../support/server.ts'

const everyBlock = () => true
const someBlocks = (piece: number, begin: number) => (piece + begin / 16_384) % 3 === 0

async function startPeer(options: BarePeerOptions): Promise<BarePeer> {
  return endAfterTest(await BarePeer.start(options))
}

async function startServer(): Promise<Server> {
  return endAfterTest(await Server.start())
}

test('files that a peer has are read by range and whole while they download', async () => {
  const content = manyFiles(1)
  const peer = await startPeer({ content })
  const server = await startServer()
  await expectWholeAndRanges(server, content, [peer.address])
})

test('HEAD tells length and ETag without asking the swarm', async () => {
  const content = fewFiles(2)
  const peer = await startPeer({ content })
  const server = await startServer()
  await server.addTorrent(content.torrent, [peer.address])
  const [file] = content.files
  const answer = await server.request(targetOf(content.infoHash, `${file?.path}`), {
    method: 'HEAD',
  })
  expect(answer.status).toBe(200)
  expect(answer.headers['content-length']).toBe(`${file?.bytes.length}`)
  expect(answer.headers.etag).toMatch(/^"[^"]+"$/)
  expect(peer.sentBlocks).toBe(0)
})

test('without peers a read answers 504 at its deadline', async () => {
  const content = fewFiles(3)
  const server = await startServer()
  await server.addTorrent(content.torrent)
  const started = performance.now()
  const answer = await server.request(`${targetOf(content.infoHash, 'few files/a.bin')}?timeout=2s`)
  const tookMs = performance.now() - started
  expect(answer.status).toBe(504)
  expect(json(answer)).toEqual({
    error: expect.any(String),
    code: expect.stringMatching(/^ISTHMUS_[A-Z]+(_[A-Z]+)+$/),
  })
  expect(tookMs).toBeGreaterThan(1900)
  expect(tookMs).toBeLessThan(8000)
})

test('without peers a magnet answers 202, and a read of it 504 at its deadline', async () => {
  const server = await startServer()
  const infoHash = 'a'.repeat(40)
  const added = await server.addMagnet(`magnet:?xt=urn:btih:${infoHash}&dn=nobody`)
  expect(added.status).toBe(202)
  expect(json(added)).toMatchObject({ infoHash })
  const answer = await server.request(`/${infoHash}/nobody/file?timeout=1s`)
  expect(answer.status).toBe(504)
})

test('what a peer that leaves was asked for comes from another one at once', async () => {
  const content = fewFiles(10)
  const peers = [
    await startPeer({ content, leaveAfter: 12 }),
    await startPeer({ content, leaveAfter: 24 }),
    await startPeer({ content }),
  ]
  const server = await startServer()
  const addresses = peers.map(({ address }) => address)
  await server.addTorrent(content.torrent, addresses)
  const started = performance.now()
  await expectFiles(server, content)
  // Well below the time after which a late block is asked from somebody else.
  expect(performance.now() - started).toBeLessThan(4000)
  expect(peers.map(({ sentBlocks }) => sentBlocks > 0)).toEqual([true, true, true])
})

test('a peer that sends bad blocks beside a good one changes no byte that is served', async () => {
  const content = fewFiles(4)
  const liar = await startPeer({ content, lie: someBlocks })
  const good = await startPeer({ content })
  const server = await startServer()
  const [file] = content.files
  await server.addTorrent(content.torrent, [liar.address, good.address])
  const answer = await server.request(targetOf(content.infoHash, `${file?.path}`))
  expect(answer).toMatchObject({ status: 200, complete: true })
  expect(sha256(answer.bytes)).toBe(sha256(file?.bytes ?? new Uint8Array()))
  expect(liar.wrongBlocks).toBeGreaterThan(0)
})

test('with nothing but bad blocks a read fails, and no wrong byte is served', async () => {
  const content = fewFiles(5)
  const liar = await startPeer({ content, lie: everyBlock })
  const server = await startServer()
  await server.addTorrent(content.torrent, [liar.address])
  const answer = await server.request(`${targetOf(content.infoHash, 'few files/a.bin')}?timeout=5s`)
  expect(liar.wrongBlocks).toBeGreaterThan(0)
  expect(answer.status).toBeGreaterThanOrEqual(500)
  expect(json(answer)).toMatchObject({ code: expect.stringMatching(/^ISTHMUS_/) })
  expect((await server.request('/healthz')).status).toBe(200)
})

test('once a good peer comes, what only had bad blocks before is read', async () => {
  const content = fewFiles(9)
  const liar = await startPeer({ content, lie: everyBlock })
  const server = await startServer()
  await server.addTorrent(content.torrent, [liar.address])
  const [file] = content.files
  const target = targetOf(content.infoHash, `${file?.path}`)
  expect((await server.request(`${target}?timeout=5s`)).status).toBeGreaterThanOrEqual(500)
  const good = await startPeer({ content })
  const told = await server.addPeers(content.infoHash, [good.address])
  expect(told.status).toBeLessThan(300)
  const answer = await server.request(target)
  expect(answer).toMatchObject({ status: 200, complete: true })
  expect(sha256(answer.bytes)).toBe(sha256(file?.bytes ?? new Uint8Array()))
})

test('where a later piece is bad from everybody, the body is cut, not ended', async () => {
  const content = fewFiles(6)
  const liar = await startPeer({ content, lie: (piece) => piece === 10 })
  const server = await startServer()
  await server.addTorrent(content.torrent, [liar.address])
  const [file] = content.files
  const target = targetOf(content.infoHash, `${file?.path}`)
  const { status, bytes, complete } = await server.request(`${target}?timeout=5s`)
  expect(liar.wrongBlocks).toBeGreaterThan(0)
  // Either it failed before the first byte, or what came is right and visibly not all.
  if (status === 200) {
    expect(complete).toBe(false)
    expect(bytes.length).toBeLessThanOrEqual(10 * content.pieceLength)
    expect(Buffer.from(bytes).equals(content.bytes.subarray(0, bytes.length))).toBe(true)
  } else expect(status).toBeGreaterThanOrEqual(500)
})

test('clients that vanish leave the server serving', async () => {
  const content = manyFiles(7)
  const peer = await startPeer({ content })
  const server = await startServer()
  await server.addTorrent(content.torrent, [peer.address])
  const last = content.files[3]
  const target = targetOf(content.infoHash, `${last?.path}`)
  const vanished = [1, 70_000, 1_000_000, 1, 300_000].map((hangUpAfter) =>
    server.request(target, { hangUpAfter }),
  )
  for (const { complete } of await Promise.all(vanished)) expect(complete).toBe(false)
  expect((await server.request('/healthz')).status).toBe(200)
  const { bytes } = await server.request(target)
  expect(sha256(bytes)).toBe(sha256(last?.bytes ?? new Uint8Array()))
  expect(server.isRunning).toBe(true)
})

describeWith('IPv6', 'over IPv6', () => {
  test('a peer at [::1] is read from', async () => {
    const content = fewFiles(8)
    const peer = await startPeer({ content, host: '::1' })
    const server = await startServer()
    await expectWholeAndRanges(server, content, [peer.address])
  })
})
