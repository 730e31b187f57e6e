import { expect, test, vi } from 'vitest'
import { allowAll } from './authorizer.ts'
import { FakeClient, FakeTorrent, fakeHash, pattern } from './fake-client.ts'
import { toFetchHandler } from './fetch-handler.ts'
import { createHandler } from './handler.ts'

const bytes = pattern(300_000)
const url = `http://a.example/${fakeHash}/a/b.mkv`

function setUp() {
  const torrent = new FakeTorrent(fakeHash, { 'a/b.mkv': bytes })
  const fake = new FakeClient(() => torrent)
  const handler = createHandler({ client: fake.client, authorize: allowAll })
  return { answer: toFetchHandler(handler), file: torrent.file('a/b.mkv') }
}

test('a file is a response', async () => {
  const { answer, file } = setUp()
  const response = await answer(new Request(url))
  expect(response.status).toBe(200)
  expect(response.headers.get('content-length')).toBe('300000')
  expect(Buffer.compare(new Uint8Array(await response.arrayBuffer()), bytes)).toBe(0)
  expect(file.reads).toBe(0)
})

test('a part, a HEAD and an error are too', async () => {
  const { answer, file } = setUp()
  const part = await answer(new Request(url, { headers: { range: 'bytes=-3' } }))
  expect(part.status).toBe(206)
  expect(new Uint8Array(await part.arrayBuffer())).toEqual(bytes.slice(-3))
  const head = await answer(new Request(url, { method: 'HEAD' }))
  expect(head.body).toBeNull()
  expect(head.headers.get('content-length')).toBe('300000')
  const error = await answer(new Request('http://a.example//'))
  expect(error.status).toBe(400)
  expect(await error.json()).toMatchObject({ code: 'ISTHMUS_REQUEST_TARGET' })
  expect(file.begun).toBe(1)
})

test('a body is read', async () => {
  const { answer } = setUp()
  const init = { method: 'POST', headers: { 'content-type': 'application/json' } }
  const body = JSON.stringify({ infoHash: fakeHash })
  const response = await answer(new Request('http://a.example/api/torrents', { ...init, body }))
  expect(response.status).toBe(201)
})

test('nothing is read ahead, and cancelling the body ends the read', async () => {
  const { answer, file } = setUp()
  const response = await answer(new Request(url))
  expect(file.reads).toBe(1)
  await response.body?.cancel()
  expect(file.reads).toBe(0)
})

test('aborting the request ends the read, and errors the body', async () => {
  const { answer, file } = setUp()
  file.stallAt = 65_536
  const gone = new AbortController()
  const response = await answer(new Request(url, { signal: gone.signal }))
  const reading = response.arrayBuffer()
  await file.stalled.opened
  gone.abort()
  await expect(reading).rejects.toThrow()
  await vi.waitFor(() => expect(file.reads).toBe(0))
})

test('a failure after the headers errors the body', async () => {
  const { answer, file } = setUp()
  file.failAt = 100_000
  const response = await answer(new Request(url))
  await expect(response.arrayBuffer()).rejects.toThrow()
  expect(file.reads).toBe(0)
})
