import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import { type AddressInfo, createServer as createTcpServer } from 'node:net'
import { gzipSync } from 'node:zlib'
import { afterEach, describe, expect, test } from 'vitest'
import { AddressPolicy } from './address-policy.ts'
import { EgressGuard, type EgressTarget, type ResolveOptions } from './egress-guard.ts'
import { fetchBytes } from './fetch-bytes.ts'

const opened: (() => Promise<unknown>)[] = []
afterEach(async () => {
  await Promise.all(opened.splice(0).map((close) => close()))
})

interface Origin {
  readonly url: string
  readonly port: number
  readonly requests: IncomingMessage[]
  connections: number
  readonly server: Server
}

type Answer = (request: IncomingMessage, response: ServerResponse) => void

async function startOrigin(answer: Answer, host = '127.0.0.1'): Promise<Origin> {
  const server = createServer((request, response) => {
    origin.requests.push(request)
    answer(request, response)
  })
  server.on('connection', () => origin.connections++)
  await new Promise<void>((resolve) => server.listen(0, host, resolve))
  opened.push(async () => {
    server.closeAllConnections()
    await new Promise((resolve) => server.close(resolve))
  })
  const { port } = server.address() as AddressInfo
  const literal = host.includes(':') ? `[${host}]` : host
  const origin: Origin = {
    url: `http://${literal}:${port}`,
    port,
    requests: [],
    connections: 0,
    server,
  }
  return origin
}

function openGuard(allow = ['127.0.0.1'], names: Record<string, string[]> = {}): EgressGuard {
  const lookup = async (hostname: string) => names[hostname] ?? []
  const guard = new EgressGuard({ policy: new AddressPolicy({ allow }), lookup })
  opened.push(() => guard.close())
  return guard
}

const failedWith = (code: string) => expect.objectContaining({ code })
const hello: Answer = (_, response) => response.end('hello')
const redirectTo =
  (location: string, status = 302): Answer =>
  (_, response) =>
    response.writeHead(status, { location }).end('moved')

describe('fetching', () => {
  test('reads the bytes, the status and the headers', async () => {
    const origin = await startOrigin((_, response) => {
      response.setHeader('x-many', ['a', 'b'])
      response.setHeader('content-type', 'text/plain')
      response.end('hello')
    })
    const fetched = await fetchBytes(openGuard(), new URL(`${origin.url}/p%20q?x=1#part`), {
      maxBytes: 5,
      headers: { 'X-Mine': 'yes' },
    })
    expect(Buffer.from(fetched.bytes).toString()).toBe('hello')
    expect(fetched.status).toBe(200)
    expect(fetched.headers).toMatchObject({ 'x-many': 'a, b', 'content-type': 'text/plain' })
    const [request] = origin.requests
    expect(request?.url).toBe('/p%20q?x=1')
    expect(request?.headers).toMatchObject({
      host: `127.0.0.1:${origin.port}`,
      'x-mine': 'yes',
      'accept-encoding': 'identity',
    })
  })

  test('keeps the name as Host and asks for it once, whatever it resolves to later', async () => {
    const origin = await startOrigin(hello)
    const asked: string[] = []
    const guard = new EgressGuard({
      policy: new AddressPolicy({ allow: ['127.0.0.1'] }),
      lookup: async (name) => {
        asked.push(name)
        return asked.length === 1 ? ['127.0.0.1'] : ['127.0.0.2']
      },
    })
    opened.push(() => guard.close())
    await fetchBytes(guard, new URL(`http://name.example:${origin.port}/`), { maxBytes: 10 })
    expect(asked).toEqual(['name.example'])
    expect(origin.requests[0]?.headers.host).toBe(`name.example:${origin.port}`)
  })

  test('names the host to a server that has several certificates', async () => {
    let hello = Buffer.alloc(0)
    const server = createTcpServer((socket) => {
      socket.on('error', () => {})
      socket.once('data', (bytes) => {
        hello = bytes
        socket.destroy()
      })
    })
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    opened.push(() => new Promise((resolve) => server.close(resolve)))
    const { port } = server.address() as AddressInfo
    const guard = openGuard(['127.0.0.1'], { 'name.example.': ['127.0.0.1'] })
    const url = new URL(`https://name.example.:${port}/`)
    const fetching = fetchBytes(guard, url, { maxBytes: 10 })
    await expect(fetching).rejects.toEqual(failedWith('ISTHMUS_FETCH_FAILED'))
    // A TLS client hello (RFC 8446) with a server name (RFC 6066 §3), its length before it.
    expect(hello[0]).toBe(22)
    expect(hello.toString('latin1')).toContain('\0\x0cname.example')
    expect(hello.toString('latin1')).not.toContain('name.example.')
  })

  test('tries the next address of a name where nobody answers', async () => {
    const origin = await startOrigin(hello)
    const names = { 'two.example': ['127.0.0.3', '127.0.0.1'] }
    const guard = openGuard(['127.0.0.0/8'], names)
    const url = new URL(`http://two.example:${origin.port}/`)
    expect((await fetchBytes(guard, url, { maxBytes: 10 })).status).toBe(200)
  })

  test('keeps the connection for the next fetch', async () => {
    const origin = await startOrigin(hello)
    const guard = openGuard()
    for (let i = 0; i < 3; i++) {
      await fetchBytes(guard, new URL(origin.url), { maxBytes: 10 })
      await new Promise((resolve) => setImmediate(resolve))
    }
    expect(origin.requests.length).toBe(3)
    expect(origin.connections).toBe(1)
  })

  test('repeats a request that met a kept connection just when it was closed', async () => {
    const origin = await startOrigin((request, response) => {
      if (origin.requests.length === 2) request.socket.destroy()
      else response.end('hello')
    })
    const guard = openGuard()
    await fetchBytes(guard, new URL(origin.url), { maxBytes: 10 })
    await new Promise((resolve) => setImmediate(resolve))
    expect((await fetchBytes(guard, new URL(origin.url), { maxBytes: 10 })).status).toBe(200)
    expect(origin.requests.length).toBe(3)
  })

  test('sends the credentials of the URL', async () => {
    const origin = await startOrigin(hello)
    const url = new URL(origin.url.replace('//', '//us%40er:pa%3Ass@'))
    await fetchBytes(openGuard(), url, { maxBytes: 10 })
    const basic = Buffer.from('us@er:pa:ss').toString('base64')
    expect(origin.requests[0]?.headers.authorization).toBe(`Basic ${basic}`)
  })
})

describe('a fetch is given up', () => {
  test('before the body when the length says too much', async () => {
    const origin = await startOrigin((_, response) => {
      response.writeHead(200, { 'content-length': 1_000_000 })
      response.flushHeaders()
    })
    const fetching = fetchBytes(openGuard(), new URL(origin.url), { maxBytes: 999_999 })
    await expect(fetching).rejects.toEqual(failedWith('ISTHMUS_FETCH_TOO_LARGE'))
  })

  test('while reading when there is more than was asked for', async () => {
    let written = 0
    let closed = () => {}
    const connectionClosed = new Promise<void>((resolve) => {
      closed = resolve
    })
    const origin = await startOrigin((request, response) => {
      request.socket.once('close', closed)
      const chunk = Buffer.alloc(65_536)
      const pump = () => {
        while (!response.destroyed && response.write(chunk)) written += chunk.length
      }
      response.on('drain', pump)
      pump()
    })
    const fetching = fetchBytes(openGuard(), new URL(origin.url), { maxBytes: 100_000 })
    await expect(fetching).rejects.toEqual(failedWith('ISTHMUS_FETCH_TOO_LARGE'))
    await connectionClosed
    expect(written).toBeLessThan(50_000_000)
  })

  test('at its deadline, however slowly bytes drip', async () => {
    const origin = await startOrigin((_, response) => {
      response.write('h')
      const timer = setInterval(() => response.write('h'), 10)
      response.once('close', () => clearInterval(timer))
    })
    const fetching = fetchBytes(openGuard(), new URL(origin.url), { maxBytes: 1e6, timeoutMs: 100 })
    await expect(fetching).rejects.toEqual(failedWith('ISTHMUS_FETCH_FAILED'))
  })

  test('with the reason of the signal', async () => {
    const controller = new AbortController()
    const origin = await startOrigin(() => controller.abort('enough'))
    const { signal } = controller
    const fetching = fetchBytes(openGuard(), new URL(origin.url), { maxBytes: 10, signal })
    await expect(fetching).rejects.toBe('enough')
    const again = fetchBytes(openGuard(), new URL(origin.url), { maxBytes: 10, signal })
    await expect(again).rejects.toBe('enough')
    expect(origin.requests.length).toBe(1)
  })

  test('when the guard closes', async () => {
    const guard = openGuard()
    const origin = await startOrigin(() => void guard.close())
    const fetching = fetchBytes(guard, new URL(origin.url), { maxBytes: 10 })
    await expect(fetching).rejects.toEqual(failedWith('ISTHMUS_FETCH_FAILED'))
  })
})

describe('an answer is refused', () => {
  test.each<[string, string, Answer]>([
    ['a failure', 'ISTHMUS_FETCH_STATUS', (_, r) => r.writeHead(503).end('no')],
    ['a redirect to nowhere', 'ISTHMUS_FETCH_STATUS', (_, r) => r.writeHead(302).end()],
    ['not modified', 'ISTHMUS_FETCH_STATUS', (_, r) => r.writeHead(304).end()],
    [
      'a content coding',
      'ISTHMUS_FETCH_FAILED',
      (_, r) => r.writeHead(200, { 'content-encoding': 'gzip' }).end(gzipSync('hello')),
    ],
    [
      'a broken content coding',
      'ISTHMUS_FETCH_FAILED',
      (_, r) => r.writeHead(200, { 'content-encoding': 'br' }).end('hello'),
    ],
    [
      'a body that breaks off',
      'ISTHMUS_FETCH_FAILED',
      (_, r) => {
        r.writeHead(200, { 'content-length': 10 })
        r.write('hello', () => r.destroy())
      },
    ],
    ['nothing at all', 'ISTHMUS_FETCH_FAILED', (q) => q.socket.destroy()],
    ['no HTTP', 'ISTHMUS_FETCH_FAILED', (q) => q.socket.end('SSH-2.0-x\r\n')],
    [
      'another protocol',
      'ISTHMUS_FETCH_FAILED',
      (q) => q.socket.write('HTTP/1.1 101 S\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n'),
    ],
    ['a redirect to no URL', 'ISTHMUS_FETCH_FAILED', redirectTo('http://[/')],
    ['a redirect to a file', 'ISTHMUS_EGRESS_DENIED', redirectTo('file:///etc/passwd')],
  ])('%s', async (_, code, answer) => {
    const origin = await startOrigin(answer)
    const fetching = fetchBytes(openGuard(), new URL(origin.url), { maxBytes: 100 })
    await expect(fetching).rejects.toEqual(failedWith(code))
  })

  test('a failure resolves for a caller who wants to see it', async () => {
    const origin = await startOrigin((_, response) => response.writeHead(400).end('why'))
    const options = { maxBytes: 10, anyStatus: true }
    const fetched = await fetchBytes(openGuard(), new URL(origin.url), options)
    expect([fetched.status, Buffer.from(fetched.bytes).toString()]).toEqual([400, 'why'])
  })

  test('nobody listens', async () => {
    const origin = await startOrigin(hello)
    await new Promise((resolve) => origin.server.close(resolve))
    const fetching = fetchBytes(openGuard(), new URL(origin.url), { maxBytes: 10 })
    await expect(fetching).rejects.toEqual(failedWith('ISTHMUS_FETCH_FAILED'))
  })
})

describe('redirects', () => {
  test.each([301, 302, 303, 307, 308])('%i is followed', async (status) => {
    const origin = await startOrigin((request, response) =>
      request.url === '/a' ? redirectTo('b?c', status)(request, response) : response.end('there'),
    )
    const fetched = await fetchBytes(openGuard(), new URL(`${origin.url}/a`), { maxBytes: 10 })
    expect(fetched.url.href).toBe(`${origin.url}/b?c`)
    expect(Buffer.from(fetched.bytes).toString()).toBe('there')
  })

  test('in a loop end after five', async () => {
    const origin = await startOrigin(redirectTo('/again'))
    const fetching = fetchBytes(openGuard(), new URL(origin.url), { maxBytes: 10 })
    await expect(fetching).rejects.toEqual(failedWith('ISTHMUS_FETCH_FAILED'))
    expect(origin.requests.length).toBe(6)
  })

  test('to another origin leave credentials behind', async () => {
    const other = await startOrigin(hello)
    const origin = await startOrigin((request, response) =>
      request.url === '/'
        ? redirectTo('/2')(request, response)
        : redirectTo(other.url.replace('//', '//x:y@'))(request, response),
    )
    const url = new URL(origin.url.replace('//', '//user:secret@'))
    await fetchBytes(openGuard(), url, { maxBytes: 10, headers: { Cookie: 'a=b', 'X-Kept': '1' } })
    const [first, second] = origin.requests.map((request) => request.headers)
    expect(first?.authorization).toBeDefined()
    expect(second?.authorization).toBe(first?.authorization)
    expect(second?.cookie).toBe('a=b')
    expect(other.requests[0]?.headers.authorization).toBeUndefined()
    expect(other.requests[0]?.headers.cookie).toBeUndefined()
    expect(other.requests[0]?.headers['x-kept']).toBe('1')
  })

  test('are resolved with the hop that they come from', async () => {
    const origin = await startOrigin((request, response) =>
      request.url === '/' ? redirectTo('/2')(request, response) : response.end(),
    )
    const hops: ResolveOptions[] = []
    class WatchedGuard extends EgressGuard {
      override resolve(url: URL, options: ResolveOptions = {}): Promise<EgressTarget> {
        hops.push(options)
        return super.resolve(url, options)
      }
    }
    const guard = new WatchedGuard({ policy: new AddressPolicy({ allow: ['127.0.0.1'] }) })
    opened.push(() => guard.close())
    await fetchBytes(guard, new URL(origin.url), { maxBytes: 10 })
    expect(hops.map((hop) => hop.redirectedFrom?.address)).toEqual([undefined, '127.0.0.1'])
  })
})

describe('no packet goes to an address that is not allowed', () => {
  // A second loopback address that is not the one that is allowed.
  const otherHost = process.platform === 'linux' ? '127.0.0.2' : '::1'

  test('asked for directly', async () => {
    const inner = await startOrigin(hello)
    const names = { 'name.example': ['127.0.0.1'], 'mixed.example': ['1.1.1.1', '127.0.0.1'] }
    const hosts = [
      '127.0.0.1',
      '127.1',
      '2130706433',
      '0x7f000001',
      '[::ffff:127.0.0.1]',
      'name.example',
      'mixed.example',
    ]
    for (const host of hosts) {
      const url = new URL(`http://${host}:${inner.port}/`)
      const fetching = fetchBytes(openGuard([], names), url, { maxBytes: 10 })
      await expect(fetching, host).rejects.toEqual(failedWith('ISTHMUS_EGRESS_DENIED'))
    }
    expect(inner.connections).toBe(0)
  })

  test('redirected to', async () => {
    const inner = await startOrigin(hello, otherHost)
    const names = { 'inner.example': [otherHost] }
    const targets = [inner.url, `http://inner.example:${inner.port}/`]
    for (const target of targets) {
      const origin = await startOrigin(redirectTo(target))
      const fetching = fetchBytes(openGuard(['127.0.0.1'], names), new URL(origin.url), {
        maxBytes: 10,
      })
      await expect(fetching, target).rejects.toEqual(failedWith('ISTHMUS_EGRESS_DENIED'))
      expect(origin.connections).toBe(1)
    }
    expect(inner.connections).toBe(0)
  })
})
