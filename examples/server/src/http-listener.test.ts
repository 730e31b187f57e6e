import { once } from 'node:events'
import { createServer } from 'node:http'
import { type AddressInfo, connect } from 'node:net'
import { afterEach, expect, test } from 'vitest'
import { HttpListener } from './http-listener.ts'

const closers: (() => Promise<void>)[] = []

afterEach(async () => {
  for (const close of closers.splice(0)) await close()
})

async function open(host: string, port: number, orAnyFree = false) {
  const lines: string[] = []
  const http = await HttpListener.open(
    () => {},
    { host, port, orAnyFree },
    (line) => lines.push(line),
  )
  closers.push(() => http.close(0))
  return { http, lines }
}

async function takePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  closers.push(async () => {
    server.close()
    await once(server, 'close')
  })
  return (server.address() as AddressInfo).port
}

test('its URL is what this machine connects to', async () => {
  expect((await open('127.0.0.1', 0)).http.url).toMatch(/^http:\/\/127\.0\.0\.1:\d+$/)
  expect((await open('0.0.0.0', 0)).http.url).toMatch(/^http:\/\/127\.0\.0\.1:\d+$/)
})

test('a port that was asked for and is taken is a failure that names it', async () => {
  const port = await takePort()
  await expect(open('127.0.0.1', port)).rejects.toMatchObject({
    code: 'ISTHMUS_LISTEN_FAILED',
    message: expect.stringContaining(`port ${port} of 127.0.0.1: it is taken`),
  })
})

test('where any port will do it takes a free one, and says so', async () => {
  const port = await takePort()
  const { http, lines } = await open('127.0.0.1', port, true)
  expect(http.url).not.toMatch(new RegExp(`:${port}$`))
  expect(lines.join()).toContain(`port ${port} is taken`)
})

test('a host that is not ours is a failure', async () => {
  await expect(open('192.0.2.1', 0)).rejects.toMatchObject({ code: 'ISTHMUS_LISTEN_FAILED' })
})

test('closing ends answers that do not end by themselves', async () => {
  const { http } = await open('127.0.0.1', 0)
  const socket = connect(Number(new URL(http.url).port), '127.0.0.1')
  socket.on('error', () => {})
  socket.write('GET / HTTP/1.1\r\nhost: a\r\n\r\n')
  await once(socket, 'connect')
  const closed = once(socket, 'close')
  await http.close(20)
  await closed
})
