import { IsthmusError, parseInfoHash } from '@isthmus/core'
import { describe, expect, test } from 'vitest'
import { allowAll } from '../authorizer.ts'
import { FakeClient, FakeTorrent, fakeHash, pattern } from '../fake-client.ts'
import { createHandler, type HandlerOptions } from '../handler.ts'

const v2 = parseInfoHash('bb'.repeat(32))
const told = {
  ...{ infoHash: fakeHash, infoHashV2: v2, name: 'fake', length: 30, pieceLength: 16_384 },
  ...{ progress: 0.5, peers: 2, downloadRate: 10, uploadRate: 20 },
  files: [{ index: 0, path: 'fake/a', length: 30, progress: 1 }],
}

function setUp(options: Partial<HandlerOptions> = {}) {
  const torrent = new FakeTorrent(fakeHash, { 'fake/a': pattern(30) }, v2)
  const fake = new FakeClient(() => torrent)
  const handler = createHandler({ client: fake.client, authorize: allowAll, ...options })
  const send = async (
    method: string,
    target: string,
    type = '',
    body: string | Uint8Array = '',
  ) => {
    const reply = await handler.handle({
      ...{ method, target, headers: new Headers(type === '' ? {} : { 'content-type': type }) },
      body: (async function* () {
        yield Buffer.from(body)
      })(),
      signal: new AbortController().signal,
    })
    await reply[Symbol.asyncDispose]()
    const text = Buffer.from((reply.body ?? '') as Uint8Array).toString()
    const json = text === '' ? undefined : JSON.parse(text)
    return { status: reply.status, headers: reply.headers, json }
  }
  const post = (value: unknown, target = '/api/torrents') =>
    send('POST', target, 'application/json; charset=utf-8', JSON.stringify(value))
  return { torrent, fake, send, post }
}

describe('adding', () => {
  const magnet = `magnet:?xt=urn:btih:${fakeHash}`

  test.each([{ magnet }, { infoHash: fakeHash.toUpperCase() }, { url: 'https://a.example/b' }])(
    '%j: 201, then 200',
    async (body) => {
      const { post, fake } = setUp()
      const answer = await post(body)
      expect(answer.status).toBe(201)
      expect(answer.headers.get('location')).toBe(`/api/torrents/${fakeHash}`)
      expect(answer.json).toEqual(told)
      expect((await post(body)).status).toBe(200)
      expect(fake.torrents).toHaveLength(1)
    },
  )

  test('a .torrent, with peers in the query', async () => {
    const { send, torrent, fake } = setUp()
    const target = '/api/torrents?peer=127.0.0.1:1&peer=%5B%3A%3A1%5D:2'
    const answer = await send('POST', target, 'application/x-bittorrent', 'd4:infoe')
    expect(answer.status).toBe(201)
    expect(fake.added).toEqual([new Uint8Array(Buffer.from('d4:infoe'))])
    expect(torrent.peers).toEqual([
      { host: '127.0.0.1', port: 1 },
      { host: '::1', port: 2 },
    ])
  })

  test('without metadata is 202 at once, with what is known', async () => {
    const { post, torrent } = setUp()
    torrent.hasMetadata = false
    const answer = await post({ magnet, peers: ['127.0.0.1:1'] })
    expect(answer.status).toBe(202)
    expect(answer.json).toEqual({
      ...{ infoHash: fakeHash, infoHashV2: v2, progress: 0.5, peers: 2 },
      ...{ downloadRate: 10, uploadRate: 20 },
    })
    expect(torrent.peers).toHaveLength(1)
  })

  test.each([
    [{}, 'ISTHMUS_REQUEST_INVALID'],
    [[], 'ISTHMUS_REQUEST_INVALID'],
    [null, 'ISTHMUS_REQUEST_INVALID'],
    [{ magnet, infoHash: fakeHash }, 'ISTHMUS_REQUEST_INVALID'],
    [{ magnet: 1 }, 'ISTHMUS_REQUEST_INVALID'],
    [{ magnet, peer: [] }, 'ISTHMUS_REQUEST_INVALID'],
    [{ magnet, peers: 'a' }, 'ISTHMUS_REQUEST_INVALID'],
    [{ magnet, peers: [1] }, 'ISTHMUS_REQUEST_INVALID'],
    [{ magnet, peers: ['a:b'] }, 'ISTHMUS_PEER_ADDRESS_INVALID'],
    [{ magnet: 'https://a.example' }, 'ISTHMUS_MAGNET_INVALID'],
    [{ url: magnet }, 'ISTHMUS_URL_INVALID'],
    [{ url: 'file:///etc/passwd' }, 'ISTHMUS_URL_INVALID'],
    [{ infoHash: 'zz' }, 'ISTHMUS_INFO_HASH_INVALID'],
  ])('%j is refused, and nothing is added', async (body, code) => {
    const { post, fake } = setUp()
    const answer = await post(body)
    expect(answer.status).toBe(400)
    expect(answer.json.code).toBe(code)
    expect(fake.added).toEqual([])
  })

  test('a key named __proto__ is one too many', async () => {
    const { send } = setUp()
    const body = `{"__proto__": {"magnet": "${magnet}"}}`
    expect((await send('POST', '/api/torrents', 'application/json', body)).status).toBe(400)
  })

  test.each([
    ['text/plain', '{}', 415, 'ISTHMUS_REQUEST_TYPE'],
    ['', '{}', 415, 'ISTHMUS_REQUEST_TYPE'],
    ['application/json', '{', 400, 'ISTHMUS_REQUEST_INVALID'],
    ['application/json', Uint8Array.of(0x22, 0xff, 0x22), 400, 'ISTHMUS_REQUEST_INVALID'],
    ['application/json', ' '.repeat(101), 413, 'ISTHMUS_REQUEST_TOO_LARGE'],
    ['application/x-bittorrent', ' '.repeat(101), 413, 'ISTHMUS_REQUEST_TOO_LARGE'],
  ])('a body of type %j: %j', async (type, body, status, code) => {
    const { send } = setUp({ maxRequestBytes: 100 })
    const answer = await send('POST', '/api/torrents', type, body)
    expect(answer.status).toBe(status)
    expect(answer.json.code).toBe(code)
  })

  test.each([
    ['ISTHMUS_METAINFO_UNSUPPORTED', 422],
    ['ISTHMUS_METAINFO_INVALID', 400],
    ['ISTHMUS_EGRESS_DENIED', 403],
    ['ISTHMUS_TORRENT_LIMIT', 503],
  ] as const)('what fails with %s is %i', async (code, status) => {
    const { post, fake } = setUp()
    fake.created = () => {
      throw new IsthmusError(code, 'why')
    }
    const answer = await post({ magnet })
    expect(answer.status).toBe(status)
    expect(answer.json).toEqual({ error: 'why', code })
  })
})

describe('a torrent that is there', () => {
  const target = `/api/torrents/${fakeHash}`

  test('is listed', async () => {
    const { send, post } = setUp()
    expect((await send('GET', '/api/torrents')).json).toEqual({ torrents: [] })
    await post({ infoHash: fakeHash })
    expect((await send('GET', '/api/torrents')).json).toEqual({ torrents: [told] })
  })

  test.each([fakeHash, fakeHash.toUpperCase(), v2])('is told of under %s', async (hash) => {
    const { send, post } = setUp()
    await post({ infoHash: fakeHash })
    const answer = await send('GET', `/api/torrents/${hash}`)
    expect(answer.status).toBe(200)
    expect(answer.json).toEqual(told)
    expect(answer.headers.get('cache-control')).toBe('no-store')
  })

  test('takes peers', async () => {
    const { post, torrent } = setUp()
    await post({ infoHash: fakeHash })
    const answer = await post({ peers: ['127.0.0.1:1'] }, `${target}/peers`)
    expect(answer.status).toBe(200)
    expect(answer.json).toEqual({ added: 1 })
    expect(torrent.peers).toEqual([{ host: '127.0.0.1', port: 1 }])
    expect((await post({}, `${target}/peers`)).status).toBe(400)
  })

  test('can be removed', async () => {
    const { send, post, fake } = setUp()
    await post({ infoHash: fakeHash })
    expect((await send('DELETE', target)).status).toBe(204)
    expect(fake.torrents).toEqual([])
    expect((await send('DELETE', target)).status).toBe(404)
  })

  test('has no other methods', async () => {
    const { send } = setUp()
    const answer = await send('PATCH', target)
    expect(answer.status).toBe(405)
    expect(answer.headers.get('allow')).toBe('GET, DELETE, HEAD, OPTIONS')
  })
})

test.each([
  ['GET', `/api/torrents/${fakeHash}`, 404, 'ISTHMUS_TORRENT_UNKNOWN'],
  ['GET', '/api/torrents/zz', 400, 'ISTHMUS_INFO_HASH_INVALID'],
  ['GET', `/api/torrents/${fakeHash}/x`, 404, 'ISTHMUS_ROUTE_UNKNOWN'],
  ['GET', '/api/x', 404, 'ISTHMUS_ROUTE_UNKNOWN'],
])('%s %s: %i', async (method, target, status, code) => {
  const { send } = setUp()
  const answer = await send(method, target)
  expect(answer.status).toBe(status)
  expect(answer.json.code).toBe(code)
})

test('peers of an unknown torrent are refused', async () => {
  const { post } = setUp()
  const answer = await post({ peers: ['127.0.0.1:1'] }, `/api/torrents/${fakeHash}/peers`)
  expect(answer.status).toBe(404)
})
