import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterEach, expect, test } from 'vitest'
import { sampleDirectory } from './sample.ts'
import { type RunningServer, startServer } from './server.ts'
import type { Settings } from './settings.ts'

const running: RunningServer[] = []

afterEach(async () => {
  for (const server of running.splice(0)) await server.close()
})

async function start(settings: Settings = {}) {
  const lines: string[] = []
  const server = await startServer({ port: 0, dht: false, ...settings }, (line) => lines.push(line))
  running.push(server)
  return { ...server, lines }
}

test('the last line that it says is where it listens, and then everything answers', async () => {
  const { url, lines } = await start()
  expect(lines.at(-1)).toBe(`listening on ${url}`)
  expect((await fetch(`${url}/healthz`)).status).toBe(200)
  const { torrents } = (await (await fetch(`${url}/api/torrents`)).json()) as {
    torrents: { name: string; progress: number }[]
  }
  expect(torrents).toMatchObject([{ name: 'isthmus-sample', progress: 1 }])
})

test('every URL that it prints is there', async () => {
  const { lines } = await start()
  const urls = lines.flatMap((line) => /curl -O '(.*)'/.exec(line)?.[1] ?? [])
  expect(urls.length).toBeGreaterThan(2)
  for (const url of urls) {
    const bytes = new Uint8Array(await (await fetch(url)).arrayBuffer())
    const [, , ...path] = new URL(url).pathname.split('/').map(decodeURIComponent)
    const source = await readFile(join(sampleDirectory, ...path))
    expect(source.compare(bytes), url).toBe(0)
  }
})

test('it names the public URL where there is one', async () => {
  const { lines, url } = await start({ publicUrl: 'https://a.example/x/' })
  expect(lines.join('\n')).toContain("'https://a.example/x/api/torrents'")
  expect(lines.at(-1)).toBe(`listening on ${url}`)
})

test('peers are accepted on loopback until another host is named', async () => {
  expect((await start()).client.address?.host).toBe('127.0.0.1')
  expect((await start({ torrentHost: '0.0.0.0' })).client.address?.host).toBe('0.0.0.0')
})

test('what is not there yet is refused before anything is opened', async () => {
  const lines: string[] = []
  await expect(
    startServer({ trackerPort: 6969 }, (line) => lines.push(line)),
  ).rejects.toMatchObject({
    code: 'ISTHMUS_CONFIG_UNSUPPORTED',
  })
  expect(lines).toEqual([])
})

test('closing twice is closing once', async () => {
  const { close, url } = await start()
  await Promise.all([close(), close()])
  await expect(fetch(`${url}/healthz`)).rejects.toThrow()
})
