import { afterEach, describe, expect, test, vi } from 'vitest'
import { type Authorizer, allowAll } from './authorizer.ts'
import { FakeClient, FakeTorrent, fakeHash, pattern } from './fake-client.ts'
import { createHandler, type Handler, type HandlerOptions } from './handler.ts'
import type { Reply } from './reply.ts'

const bytes = pattern(300_000)
const path = `/${fakeHash}/fake/video.mp4`

interface Asked {
  readonly method?: string
  readonly headers?: Record<string, string>
  readonly signal?: AbortSignal
}

function setUp(options: Partial<HandlerOptions> = {}) {
  const torrent = new FakeTorrent(fakeHash, {
    'fake/video.mp4': bytes,
    'fake/empty.bin': new Uint8Array(),
    'fake/page.SVG': bytes.slice(0, 10),
    'fake/映画.txt': bytes.slice(0, 10),
  })
  const fake = new FakeClient(() => torrent)
  const handler = createHandler({ client: fake.client, authorize: allowAll, ...options })
  const ask = (target: string, asked: Asked = {}) => send(handler, target, asked)
  const video = torrent.file('fake/video.mp4')
  return { torrent, fake, handler, ask, video }
}

async function send(handler: Handler, target: string, { method = 'GET', ...rest }: Asked) {
  const { headers, signal = new AbortController().signal } = rest
  const reply = await handler.handle({ method, target, headers: new Headers(headers), signal })
  const body = await bodyOf(reply).finally(() => reply[Symbol.asyncDispose]())
  const text = () => Buffer.from(body).toString()
  return {
    ...{ status: reply.status, headers: reply.headers, body, text },
    json: () => JSON.parse(text()),
  }
}

async function bodyOf({ body }: Reply): Promise<Uint8Array> {
  if (body === undefined || body instanceof Uint8Array) return body ?? new Uint8Array()
  const chunks: Uint8Array[] = []
  for await (const chunk of body.read()) chunks.push(chunk)
  return Buffer.concat(chunks)
}

afterEach(() => {
  vi.useRealTimers()
})

describe('a file', () => {
  test('is answered whole, with all that a player needs', async () => {
    const { ask } = setUp()
    const { status, headers, body } = await ask(path)
    expect(status).toBe(200)
    expect(Object.fromEntries(headers)).toEqual({
      'accept-ranges': 'bytes',
      'cache-control': 'public, max-age=31536000, immutable',
      'content-length': '300000',
      'content-type': 'video/mp4',
      etag: '"e"',
      'x-content-type-options': 'nosniff',
    })
    expect(Buffer.compare(body, bytes)).toBe(0)
  })

  test('is answered in part', async () => {
    const { ask } = setUp()
    const { status, headers, body } = await ask(path, { headers: { range: 'bytes=65535-131073' } })
    expect(status).toBe(206)
    expect(headers.get('content-range')).toBe('bytes 65535-131073/300000')
    expect(headers.get('content-length')).toBe('65539')
    expect(headers.get('etag')).toBe('"e"')
    expect(headers.get('cache-control')).toContain('immutable')
    expect(Buffer.compare(body, bytes.slice(65_535, 131_074))).toBe(0)
  })

  test('is answered in several parts, in the order asked', async () => {
    const { ask } = setUp()
    const { status, headers, text } = await ask(path, { headers: { range: 'bytes=-1,0-1' } })
    expect(status).toBe(206)
    expect(headers.has('content-range')).toBe(false)
    const boundary = /^multipart\/byteranges; boundary=([\w-]+)$/.exec(
      headers.get('content-type') ?? '',
    )?.[1]
    const part = (range: string) =>
      `--${boundary}\r\ncontent-type: video/mp4\r\ncontent-range: bytes ${range}/300000\r\n\r\n`
    const { body } = await ask(path, { headers: { range: 'bytes=-1,0-1' } })
    expect(headers.get('content-length')).toBe(String(body.length))
    const expected = Buffer.concat([
      ...[Buffer.from(part('299999-299999')), bytes.slice(299_999), Buffer.from('\r\n')],
      ...[Buffer.from(part('0-1')), bytes.slice(0, 2), Buffer.from(`\r\n--${boundary}--\r\n`)],
    ])
    expect(text()).toBe(expected.toString())
  })

  test('that does not have the range says how long it is, and is not read', async () => {
    const { ask, video } = setUp()
    const { status, headers, json } = await ask(path, { headers: { range: 'bytes=300000-' } })
    expect(status).toBe(416)
    expect(headers.get('content-range')).toBe('bytes */300000')
    expect(json().code).toBe('ISTHMUS_RANGE_UNSATISFIABLE')
    expect(video.begun).toBe(0)
  })

  test.each([
    [{ method: 'HEAD', headers: { range: 'bytes=0-1' } }, 200],
    [{ headers: { 'if-none-match': '"e"', range: 'bytes=0-1' } }, 304],
    [{ headers: { 'if-match': '"x"', range: 'bytes=0-1' } }, 412],
  ])('%j never asks the swarm for pieces', async (asked, status) => {
    const { ask, video } = setUp()
    const answer = await ask(path, asked)
    expect(answer.status).toBe(status)
    expect(answer.headers.has('content-range')).toBe(false)
    expect(video.begun).toBe(0)
    if (status === 200) expect(answer.headers.get('content-length')).toBe('300000')
    if (status !== 412) expect(answer.headers.get('etag')).toBe('"e"')
  })

  test('that changed since, says If-Range, is answered whole', async () => {
    const { ask } = setUp()
    const headers = { range: 'bytes=0-1', 'if-range': '"x"' }
    expect((await ask(path, { headers })).status).toBe(200)
  })

  test('without a byte in it is answered', async () => {
    const { ask } = setUp()
    const { status, headers } = await ask(`/${fakeHash}/fake/empty.bin`)
    expect(status).toBe(200)
    expect(headers.get('content-length')).toBe('0')
    expect(headers.get('content-type')).toBe('application/octet-stream')
  })

  test('that a browser would run is saved instead', async () => {
    const { ask } = setUp()
    const { headers } = await ask(`/${fakeHash}/fake/page.SVG`)
    expect(headers.get('content-type')).toBe('image/svg+xml')
    expect(headers.get('content-disposition')).toBe('attachment; filename="page.SVG"')
  })

  test('is saved under its own name where that is asked for', async () => {
    const { ask } = setUp()
    const { headers } = await ask(`/${fakeHash}/fake/${encodeURIComponent('映画.txt')}?download`)
    expect(headers.get('content-disposition')).toContain(`filename*=UTF-8''%E6%98%A0`)
  })

  test('may be named with escaped slashes', async () => {
    const { ask } = setUp()
    expect((await ask(`/${fakeHash}/fake%2Fvideo.mp4`)).status).toBe(200)
  })

  test.each([
    [`/${fakeHash}/fake/other`, 404, 'ISTHMUS_FILE_UNKNOWN'],
    [`/${fakeHash}/video.mp4`, 404, 'ISTHMUS_FILE_UNKNOWN'],
    [`/${fakeHash}/fake/../fake/video.mp4`, 404, 'ISTHMUS_FILE_UNKNOWN'],
    [`/${fakeHash}`, 404, 'ISTHMUS_ROUTE_UNKNOWN'],
    [`${path}?timeout=soon`, 400, 'ISTHMUS_REQUEST_INVALID'],
  ])('%s: %i', async (target, status, code) => {
    const { ask } = setUp()
    const answer = await ask(target)
    expect(answer.status).toBe(status)
    expect(answer.json().code).toBe(code)
  })
})

describe('a target that is none', () => {
  test.each([
    ['//', 400, 'ISTHMUS_REQUEST_TARGET'],
    ['/%FF', 400, 'ISTHMUS_REQUEST_TARGET'],
    [`/${fakeHash}/%FF`, 400, 'ISTHMUS_REQUEST_TARGET'],
    [`/${fakeHash}a/x`, 400, 'ISTHMUS_INFO_HASH_INVALID'],
    ['/favicon.ico', 404, 'ISTHMUS_ROUTE_UNKNOWN'],
  ])('%s: %i, told to pages of any origin', async (target, status, code) => {
    const { ask } = setUp()
    const answer = await ask(target)
    expect(answer.status).toBe(status)
    expect(answer.json()).toEqual({ error: expect.any(String), code })
    expect(answer.headers.get('access-control-allow-origin')).toBe('*')
    expect(answer.headers.get('content-type')).toBe('application/json')
  })

  test.each([
    '/',
    '/metrics',
    '/ui/x',
    '/readyz',
    '/healthz/x',
    '/api',
    '/api/torrents/',
    '/api/x',
  ])('%s is reserved, and not there', async (target) => {
    const { ask } = setUp()
    const { status } = await ask(target)
    expect(status === 404 || status === 400).toBe(true)
  })
})

test('a method that a route does not have is refused with those that it has', async () => {
  const { ask } = setUp()
  const answer = await ask(path, { method: 'PUT' })
  expect(answer.status).toBe(405)
  expect(answer.headers.get('allow')).toBe('GET, HEAD, OPTIONS')
  expect(answer.json().code).toBe('ISTHMUS_REQUEST_METHOD')
  expect((await ask(path, { method: '__proto__' })).status).toBe(405)
})

test('the health is told to everybody', async () => {
  const { ask } = setUp({ authorize: () => null })
  const { status, json } = await ask('/healthz')
  expect(status).toBe(200)
  expect(json()).toEqual({ status: 'ok' })
})

describe('the deadline', () => {
  test.each([
    ['', 30_000],
    ['?timeout=45s', 45_000],
    ['?timeout=2', 2000],
    ['?timeout=1500ms', 1500],
    ['?timeout=60m', 120_000],
  ])('with %j, metadata is waited for %i ms', async (query, ms) => {
    vi.useFakeTimers()
    const { ask, torrent } = setUp()
    torrent.hasMetadata = false
    const answer = ask(`${path}${query}`)
    const settled = vi.fn()
    answer.then(settled)
    await vi.advanceTimersByTimeAsync(ms - 1)
    expect(settled).not.toHaveBeenCalled()
    await vi.advanceTimersByTimeAsync(1)
    expect((await answer).status).toBe(504)
    expect((await answer).json().code).toBe('ISTHMUS_METADATA_TIMEOUT')
  })

  test('for bytes that no peer has is 504 too, and gives the read up', async () => {
    vi.useFakeTimers()
    const { ask, video } = setUp({ firstByteTimeoutMs: 5000 })
    video.stallAt = 0
    const answer = ask(path)
    await vi.advanceTimersByTimeAsync(5000)
    expect((await answer).status).toBe(504)
    expect((await answer).json().code).toBe('ISTHMUS_SWARM_TIMEOUT')
    expect(video.reads).toBe(0)
  })

  test('is for the first byte alone', async () => {
    vi.useFakeTimers()
    const { handler, video } = setUp({ firstByteTimeoutMs: 5000 })
    video.stallAt = 65_536
    const gone = new AbortController()
    const reply = await handler.handle({
      ...{ method: 'GET', target: path, headers: new Headers(), signal: gone.signal },
    })
    expect(reply.status).toBe(200)
    const reading = bodyOf(reply)
    const settled = vi.fn()
    reading.catch(settled)
    await vi.advanceTimersByTimeAsync(500_000)
    expect(settled).not.toHaveBeenCalled()
    gone.abort()
    await expect(reading).rejects.toThrow(gone.signal.reason)
    await reply[Symbol.asyncDispose]()
  })
})

test('a reply that nobody reads gives its read up when it is disposed of', async () => {
  const { handler, video } = setUp()
  const { signal } = new AbortController()
  const reply = await handler.handle({
    method: 'GET',
    target: path,
    headers: new Headers(),
    signal,
  })
  expect(video.reads).toBe(1)
  await reply[Symbol.asyncDispose]()
  expect(video.reads).toBe(0)
})

test('a failure before the first byte is told, without what is inside', async () => {
  const onError = vi.fn()
  const { ask, video } = setUp({ onError })
  video.failAt = 0
  const answer = await ask(path)
  expect(answer.status).toBe(500)
  expect(answer.json()).toEqual({ error: 'the server failed', code: 'ISTHMUS_STORAGE_FAILED' })
  expect(onError).toHaveBeenCalledOnce()
})

test('a failure that is not ours is told to nobody but the observer', async () => {
  const onError = vi.fn()
  const { ask, torrent } = setUp({ onError })
  torrent.ready = () => Promise.reject(new TypeError('secret'))
  const answer = await ask(path)
  expect(answer.json()).toEqual({ error: 'the server failed', code: 'ISTHMUS_INTERNAL' })
  expect(onError).toHaveBeenCalledWith(expect.any(TypeError))
})

describe('without a grant', () => {
  const denying = [() => null, () => undefined, () => true] as unknown as Authorizer[]

  test.each(denying)('nothing is done (%s)', async (authorize) => {
    const { ask, fake } = setUp({ authorize })
    for (const target of [path, '/api/torrents', `/api/torrents/${fakeHash}`]) {
      const answer = await ask(target)
      expect(answer.status).toBe(403)
      expect(answer.json().code).toBe('ISTHMUS_ACCESS_DENIED')
    }
    expect(fake.added).toEqual([])
  })

  test('what is asked is what the authorizer sees', async () => {
    const authorize = vi.fn(() => null)
    const { ask } = setUp({ authorize })
    await ask(`${path}?a=b`, { method: 'HEAD' })
    expect(authorize).toHaveBeenCalledWith(
      expect.objectContaining({
        ...{ action: 'read', infoHash: fakeHash, path: 'fake/video.mp4', method: 'HEAD' },
      }),
    )
  })

  test('shared caches keep nothing that needed one', async () => {
    const { ask } = setUp({ authorize: () => ({}) })
    const { headers } = await ask(path)
    expect(headers.get('cache-control')).toBe('private, max-age=31536000, immutable')
  })
})

describe('pages of other origins', () => {
  test('may read files where they are listed', async () => {
    const { ask } = setUp({ cors: ['https://a.example'] })
    const allowed = await ask(path, { headers: { origin: 'https://a.example' } })
    expect(allowed.headers.get('access-control-allow-origin')).toBe('https://a.example')
    expect(allowed.headers.get('vary')).toBe('origin')
    const other = await ask(path, { headers: { origin: 'https://b.example' } })
    expect(other.headers.has('access-control-allow-origin')).toBe(false)
  })

  test('may send ranges after asking, to files alone', async () => {
    const { ask } = setUp({ cors: '*' })
    const preflight = await ask(path, { method: 'OPTIONS' })
    expect(preflight.status).toBe(204)
    expect(preflight.headers.get('access-control-allow-origin')).toBe('*')
    expect(preflight.headers.get('access-control-allow-headers')).toContain('range')
    const api = await ask('/api/torrents', { method: 'OPTIONS' })
    expect(api.headers.has('access-control-allow-origin')).toBe(false)
  })
})

describe('a torrent that was added by being asked for', () => {
  test('is dropped some time after its last use', async () => {
    vi.useFakeTimers()
    const { ask, fake } = setUp({ dropAfterMs: 60_000 })
    await ask(path)
    await vi.advanceTimersByTimeAsync(59_999)
    await ask(path)
    await vi.advanceTimersByTimeAsync(59_999)
    expect(fake.torrents).toHaveLength(1)
    await vi.advanceTimersByTimeAsync(1)
    expect(fake.torrents).toHaveLength(0)
    expect(fake.added).toEqual([fakeHash])
  })

  test('stays while it is read', async () => {
    vi.useFakeTimers()
    const { handler, fake } = setUp({ dropAfterMs: 1000 })
    const { signal } = new AbortController()
    const request = { method: 'GET', target: path, headers: new Headers(), signal }
    const [one, two] = await Promise.all([handler.handle(request), handler.handle(request)])
    await one[Symbol.asyncDispose]()
    await one[Symbol.asyncDispose]()
    await vi.advanceTimersByTimeAsync(100_000)
    expect(fake.torrents).toHaveLength(1)
    await two[Symbol.asyncDispose]()
    await vi.advanceTimersByTimeAsync(1000)
    expect(fake.torrents).toHaveLength(0)
  })

  test('stays for good once somebody adds it', async () => {
    vi.useFakeTimers()
    const { ask, fake, handler } = setUp({ dropAfterMs: 1000 })
    await ask(path)
    const reply = await handler.handle({
      method: 'POST',
      target: '/api/torrents',
      headers: new Headers({ 'content-type': 'application/json' }),
      body: (async function* () {
        yield Buffer.from(JSON.stringify({ infoHash: fakeHash }))
      })(),
      signal: new AbortController().signal,
    })
    expect(reply.status).toBe(200)
    await ask(path)
    await vi.advanceTimersByTimeAsync(100_000)
    expect(fake.torrents).toHaveLength(1)
  })

  test('leaves no timer once the handler is closed', async () => {
    vi.useFakeTimers()
    const { ask, handler } = setUp()
    await ask(path)
    expect(vi.getTimerCount()).toBe(1)
    await handler.close()
    expect(vi.getTimerCount()).toBe(0)
  })
})

test('a torrent that was there before is never dropped', async () => {
  vi.useFakeTimers()
  const { ask, fake, torrent } = setUp()
  fake.torrents.push(torrent)
  await ask(path)
  expect(vi.getTimerCount()).toBe(0)
  expect(fake.added).toEqual([])
})
