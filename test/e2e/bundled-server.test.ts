import { once } from 'node:events'
import { createServer } from 'node:http'
import { describe, expect, test } from 'vitest'
import { Child } from '../support/child.ts'
import { endAfterTest } from '../support/cleanup.ts'
import { json, sha256 } from '../support/request.ts'
import { sampleFiles, sampleInfoHash, sampleTorrent } from '../support/sample.ts'
import { Server, serverMain, targetOf, torrentReply } from '../support/server.ts'

const start = async (flags: readonly string[] = []) => endAfterTest(await Server.start({ flags }))

describe('without arguments', () => {
  test('it is ready when it says so, and prints URLs of the sample', async () => {
    const server = await start()
    expect(server.url).toMatch(/^http:\/\/127\.0\.0\.1:\d+$/)
    expect((await server.request('/healthz')).status).toBe(200)
    expect(server.output).toContain(`${server.url}/`)
    expect(server.output).toContain(sampleInfoHash)
  })

  test('the sample is listed, complete, from the first request on', async () => {
    const server = await start()
    const [sample, ...others] = await server.torrents()
    expect(others).toEqual([])
    expect(sample).toMatchObject({
      infoHash: sampleInfoHash,
      name: 'isthmus-sample',
      progress: 1,
      files: sampleFiles.map(({ path, bytes }, index) => ({ index, path, length: bytes.length })),
    })
  })

  test('every file of the sample is served as it is on disk', async () => {
    const server = await start()
    for (const { path, bytes } of sampleFiles) {
      const answer = await server.request(targetOf(sampleInfoHash, path))
      expect(answer.status, path).toBe(200)
      expect(sha256(answer.bytes), path).toBe(sha256(bytes))
    }
    const video = await server.range(targetOf(sampleInfoHash, 'isthmus-sample/isthmus.mp4'), 9, 99)
    expect(video.status).toBe(206)
    expect(video.headers['content-type']).toBe('video/mp4')
  })
})

describe('what bad input gets', () => {
  const cases: readonly (readonly [string, string | Uint8Array])[] = [
    ['no bencode', 'this is not a torrent'],
    ['an unfinished dictionary', 'd4:infod4:name1:a'],
    ['no info', 'd8:announce3:abce'],
    [
      'a name that escapes',
      'd4:infod6:lengthi1e4:name2:..12:piece lengthi16384e6:pieces20:aaaaaaaaaaaaaaaaaaaaee',
    ],
    [
      'a piece length of 0',
      'd4:infod6:lengthi1e4:name1:a12:piece lengthi0e6:pieces20:aaaaaaaaaaaaaaaaaaaaee',
    ],
  ]
  test.each(cases)('a .torrent with %s: 400 with a code', async (_, body) => {
    const server = await start()
    const answer = await server.addTorrent(Buffer.from(body))
    expect(answer.status).toBe(400)
    expect(json(answer)).toMatchObject({ code: expect.stringMatching(/^ISTHMUS_/) })
    expect(await server.torrents()).toHaveLength(1)
  })

  test.each([
    'magnet:',
    'magnet:?xt=urn:btih:xyz',
    'magnet:?dn=nothing',
    'http://example.invalid/',
  ])('the magnet %s: 400 with a code', async (magnet) => {
    const server = await start()
    const answer = await server.addMagnet(magnet)
    expect(answer.status).toBe(400)
    expect(json(answer)).toMatchObject({ code: expect.stringMatching(/^ISTHMUS_/) })
  })

  test('a magnet whose tracker is loopback answers 202, and the tracker is not asked', async () => {
    const asked: string[] = []
    const listener = createServer((req, res) => {
      asked.push(req.url ?? '')
      res.end('de')
    }).listen(0, '127.0.0.1')
    await once(listener, 'listening')
    endAfterTest({ stop: async () => listener.close() })
    const bound = listener.address()
    const port = bound !== null && typeof bound === 'object' ? bound.port : 0
    const server = await start()
    const tracker = encodeURIComponent(`http://127.0.0.1:${port}/announce`)
    const infoHash = 'b'.repeat(40)
    const added = await server.addMagnet(`magnet:?xt=urn:btih:${infoHash}&tr=${tracker}`)
    expect(added.status).toBe(202)
    expect((await server.request(`/${infoHash}/x?timeout=1s`)).status).toBe(504)
    expect(asked).toEqual([])
  })

  test('an unknown flag ends it with a text that names the flag', async () => {
    const child = endAfterTest(new Child(process.execPath, [serverMain, '--no-such-flag', '1']))
    await child.line(/--no-such-flag/)
    expect(await child.ended()).toBeGreaterThan(0)
  })
})

describe('API', () => {
  test('a torrent that is known already answers 200, one that is deleted 404', async () => {
    const server = await start()
    const again = await server.addTorrent(sampleTorrent)
    expect(again.status).toBe(200)
    expect(torrentReply(again).infoHash).toBe(sampleInfoHash)
    const target = `/api/torrents/${sampleInfoHash}`
    expect((await server.request(target)).status).toBe(200)
    const shouted = `/api/torrents/${sampleInfoHash.toUpperCase()}`
    expect((await server.request(shouted)).status).toBe(200)
    const removed = await server.request(target, { method: 'DELETE' })
    expect(removed.status).toBeLessThan(300)
    expect((await server.request(target)).status).toBe(404)
  })
})

test.each(['SIGINT', 'SIGTERM'] as const)('%s ends it cleanly', async (signal) => {
  const server = await start()
  expect(await server.stop(signal)).toBe(0)
  expect(server.output).not.toMatch(/error/i)
})
