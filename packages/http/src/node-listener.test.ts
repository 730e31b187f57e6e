import { once } from 'node:events'
import http, { createServer } from 'node:http'
import { type AddressInfo, connect } from 'node:net'
import { afterEach, expect, test, vi } from 'vitest'
import { allowAll } from './authorizer.ts'
import { FakeClient, FakeTorrent, fakeHash, pattern } from './fake-client.ts'
import { createHandler } from './handler.ts'
import { type NodeListener, toNodeListener } from './node-listener.ts'

const bytes = pattern(3_000_000)
const path = `/${fakeHash}/a/b.mkv`
const closers: (() => Promise<void>)[] = []

afterEach(async () => {
  for (const close of closers.splice(0)) await close()
})

async function setUp(mount: (listener: NodeListener) => http.RequestListener = (own) => own) {
  const torrent = new FakeTorrent(fakeHash, { 'a/b.mkv': bytes })
  const fake = new FakeClient(() => torrent)
  const handler = createHandler({ client: fake.client, authorize: allowAll, maxRequestBytes: 1000 })
  const server = createServer(mount(toNodeListener(handler)))
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  closers.push(async () => {
    server.closeAllConnections()
    server.close()
    await handler.close()
  })
  const { port } = server.address() as AddressInfo
  return { file: torrent.file('a/b.mkv'), fake, port, url: `http://127.0.0.1:${port}`, server }
}

/** Sends raw bytes and gives back all that comes until the other side closes. */
async function raw(port: number, text: string): Promise<string> {
  const socket = connect(port, '127.0.0.1')
  const chunks: Buffer[] = []
  socket.on('data', (chunk) => chunks.push(chunk))
  socket.end(text, 'latin1')
  await once(socket, 'close')
  return Buffer.concat(chunks).toString('latin1')
}

test('a file arrives whole, and a part of it on the same connection', async () => {
  const { port } = await setUp()
  const agent = new http.Agent({ keepAlive: true, maxSockets: 1 })
  const get = async (headers: http.OutgoingHttpHeaders) => {
    const request = http.get({ agent, host: '127.0.0.1', port, path, headers })
    const [response] = (await once(request, 'response')) as [http.IncomingMessage]
    const chunks: Buffer[] = []
    for await (const chunk of response) chunks.push(chunk)
    return { response, body: Buffer.concat(chunks), reused: request.reusedSocket }
  }
  const whole = await get({})
  expect(whole.response.statusCode).toBe(200)
  expect(whole.response.headers.date).toBeDefined()
  expect(whole.body.compare(bytes)).toBe(0)
  const part = await get({ range: 'bytes=1-2999998' })
  expect(part.response.statusCode).toBe(206)
  expect(part.body.compare(bytes.slice(1, 2_999_999))).toBe(0)
  const none = await get({ range: 'bytes=3000000-' })
  expect(none.response.statusCode).toBe(416)
  const again = await get({ range: 'bytes=-5' })
  expect(again.body.compare(bytes.slice(-5))).toBe(0)
  expect(again.reused).toBe(true)
  agent.destroy()
})

test('HEAD, 204 and 304 have no body', async () => {
  const { url, port, file } = await setUp()
  const head = await fetch(url + path, { method: 'HEAD' })
  expect(head.headers.get('content-length')).toBe('3000000')
  const hit = await fetch(url + path, { headers: { 'if-none-match': '"e"' } })
  expect(hit.status).toBe(304)
  const api = await raw(port, 'HEAD /api/torrents HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n')
  expect(api.endsWith('\r\n\r\n')).toBe(true)
  expect((await fetch(url + path, { method: 'OPTIONS' })).status).toBe(204)
  expect(file.begun).toBe(0)
})

test('a client that leaves ends the read behind it', async () => {
  const { url, file } = await setUp()
  file.stallAt = 1_000_000
  const gone = new AbortController()
  const response = await fetch(url + path, { signal: gone.signal })
  await file.stalled.opened
  expect(file.reads).toBe(1)
  gone.abort()
  await response.text().catch(() => {})
  await vi.waitFor(() => expect(file.reads).toBe(0))
})

test('a client that leaves before the first byte ends the wait', async () => {
  const { url, file } = await setUp()
  file.stallAt = 0
  const gone = new AbortController()
  const response = fetch(url + path, { signal: gone.signal })
  await file.stalled.opened
  gone.abort()
  await expect(response).rejects.toThrow()
  await vi.waitFor(() => expect(file.reads).toBe(0))
})

test('a slow client holds back the reading', async () => {
  const { port, file } = await setUp()
  let yielded = 0
  const read = file.read.bind(file)
  file.read = async function* (range, options) {
    for await (const chunk of read(range, options)) {
      yielded += chunk.length
      yield chunk
    }
  }
  Object.defineProperty(file, 'bytes', { value: pattern(64 * 1024 * 1024) })
  const socket = connect({ port, host: '127.0.0.1' })
  socket.pause()
  socket.write(`GET ${path} HTTP/1.1\r\nhost: a\r\n\r\n`)
  // It stands still once the buffers of the kernel are full.
  let before = -1
  await vi.waitFor(
    () => {
      const stands = yielded > 0 && yielded === before
      before = yielded
      expect(stands).toBe(true)
    },
    { interval: 50, timeout: 5000 },
  )
  expect(yielded).toBeLessThan(32 * 1024 * 1024)
  socket.destroy()
  await vi.waitFor(() => expect(file.reads).toBe(0))
})

test('a failure after the headers never looks like an end', async () => {
  const { url, file } = await setUp()
  file.failAt = 1_000_000
  const response = await fetch(url + path)
  expect(response.status).toBe(200)
  await expect(response.arrayBuffer()).rejects.toThrow()
})

test.each([
  ['GET // HTTP/1.1', 400],
  ['GET /%FF HTTP/1.1', 400],
  ['GET /%00 HTTP/1.1', 400],
  ['GET /\xff\xfe HTTP/1.1', 400],
  ['GET http://h//x HTTP/1.1', 400],
  ['GET http://[::1/ HTTP/1.1', 404],
  ['GET /__proto__/constructor HTTP/1.1', 404],
  ['OPTIONS * HTTP/1.1', 400],
  ['DELETE /api/torrents/%2e%2e HTTP/1.1', 400],
])('%s: %i, and the next request is answered', async (line, status) => {
  const { port, url } = await setUp()
  const answer = await raw(port, `${line}\r\nhost: a\r\nconnection: close\r\n\r\n`)
  expect(answer).toMatch(new RegExp(`^HTTP/1.1 ${status} `))
  expect((await fetch(`${url}/healthz`)).status).toBe(200)
})

test('a body that is too large is refused while it is still being sent', async () => {
  const { url } = await setUp()
  for (const body of [new Uint8Array(100_000), new Blob([new Uint8Array(100_000)]).stream()]) {
    const init = { method: 'POST', body, duplex: 'half' as const }
    const headers = { 'content-type': 'application/x-bittorrent' }
    const response = await fetch(`${url}/api/torrents`, { ...init, headers } as RequestInit)
    expect(response.status).toBe(413)
    expect(await response.json()).toMatchObject({ code: 'ISTHMUS_REQUEST_TOO_LARGE' })
  }
})

test('an upload that is cut off harms nobody', async () => {
  const { port, url } = await setUp()
  const type = 'content-type: application/json\r\ncontent-length: 900'
  const answer = await raw(port, `POST /api/torrents HTTP/1.1\r\nhost: a\r\n${type}\r\n\r\n{"ma`)
  expect(answer).not.toContain('HTTP/1.1 2')
  expect((await fetch(`${url}/healthz`)).status).toBe(200)
})

test('mounted in front of others, it passes on what it does not know', async () => {
  const { url } = await setUp((own) => (req, res) => {
    own(req, res, () => res.end('theirs'))
  })
  expect(await (await fetch(`${url}/theirs`)).text()).toBe('theirs')
  expect((await fetch(`${url}/${fakeHash}a`)).status).toBe(400)
  expect((await fetch(`${url}/healthz`)).status).toBe(200)
})

test('no listener is left on a connection that is used again', async () => {
  const { port, server } = await setUp()
  const sockets = new Set<import('node:net').Socket>()
  server.on('connection', (socket) => sockets.add(socket))
  const agent = new http.Agent({ keepAlive: true, maxSockets: 1 })
  const counts: number[] = []
  for (let i = 0; i < 3; i++) {
    const request = http.get({ agent, host: '127.0.0.1', port, path })
    const [response] = (await once(request, 'response')) as [http.IncomingMessage]
    for await (const _ of response);
    const [socket] = sockets
    counts.push((socket?.listenerCount('close') ?? 0) + (socket?.listenerCount('drain') ?? 0))
  }
  expect(sockets.size).toBe(1)
  expect(counts[2]).toBe(counts[1])
  agent.destroy()
})
