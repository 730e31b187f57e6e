import { once } from 'node:events'
import { connect, createServer, type Server, type Socket } from 'node:net'
import { expect, onTestFinished, test } from 'vitest'
import { obfuscatedHash } from '../../packages/core/src/wire/mse-keys.ts'
import type { ObfuscatedStream } from '../../packages/core/src/wire/obfuscated-stream.ts'
import { Obfuscation, type ObfuscationOptions } from '../../packages/core/src/wire/obfuscation.ts'
import { Child } from '../support/child.ts'
import { endAfterTest, temporaryDirectory } from '../support/cleanup.ts'
import { debianPython, describeWith } from '../support/clients.ts'
import { fewFiles, writeContent } from '../support/content.ts'

const content = fewFiles(31)
const infoHash = Uint8Array.from(Buffer.from(content.infoHash, 'hex'))

const bitfield = 5
const interested = Buffer.from([0, 0, 0, 1, 2])
const unchoke = 1

/**
 * A seeder with encryption settings of its own: argv is the .torrent, the directory, the settings as
 * JSON and, where it shall dial, host and port. Prints READY port, and PEER with the flags of a peer
 * that is through its handshake.
 */
const script = `
import json, os, sys, threading, time
import libtorrent as lt
torrent, directory, settings, *peer = sys.argv[1:]
threading.Thread(target=lambda: (sys.stdin.read(), os._exit(0)), daemon=True).start()
session = lt.session({
    'enable_dht': False, 'enable_lsd': False, 'enable_upnp': False, 'enable_natpmp': False,
    'enable_incoming_utp': False, 'enable_outgoing_utp': False, 'listen_interfaces': '127.0.0.1:0',
    **json.loads(settings)})
params = lt.add_torrent_params()
params.ti, params.save_path = lt.torrent_info(torrent), directory
params.flags &= ~(lt.torrent_flags.auto_managed | lt.torrent_flags.paused)
handle = session.add_torrent(params)
while not (session.listen_port() and handle.status().is_seeding):
    time.sleep(0.02)
print('READY', session.listen_port(), flush=True)
if peer:
    handle.connect_peer((peer[0], int(peer[1])))
while True:
    for info in handle.get_peer_info():
        if not info.flags & (lt.peer_info.handshake | lt.peer_info.connecting):
            rc4, plaintext = lt.peer_info.rc4_encrypted, lt.peer_info.plaintext_encrypted
            kind = 'rc4' if info.flags & rc4 else 'plaintext' if info.flags & plaintext else 'none'
            print('PEER', kind, flush=True)
    time.sleep(0.02)
`

const forced = 0
const disabled = 2
const levels = { plaintext: 1, rc4: 2, both: 3 }
const encryption = (policy: number, level: keyof typeof levels, preferRc4 = false) => ({
  in_enc_policy: policy,
  out_enc_policy: policy,
  allowed_enc_level: levels[level],
  prefer_rc4: preferRc4,
})

async function seed(settings: object, dials?: number): Promise<{ child: Child; port: number }> {
  const directory = await temporaryDirectory()
  const torrent = await writeContent(content, directory)
  const peer = dials === undefined ? [] : ['127.0.0.1', `${dials}`]
  const args = ['-c', script, torrent, directory, JSON.stringify(settings), ...peer]
  return Child.start(debianPython, args, async (child) => {
    endAfterTest(child)
    const [, port] = await child.line(/^READY (\d+)$/)
    return { child, port: Number(port) }
  })
}

function handshake(): Buffer {
  const opening = Buffer.from('\x13BitTorrent protocol\0\0\0\0\0\0\0\0', 'latin1')
  return Buffer.concat([opening, infoHash, Buffer.from('-XX0000-obfuscation!')])
}

/** A socket behind an obfuscated handshake. */
class Line {
  stream: ObfuscatedStream | undefined
  readonly #socket: Socket
  #heard = Buffer.alloc(0)
  #wake = () => {}

  constructor(socket: Socket, obfuscation: Obfuscation) {
    this.#socket = socket
    onTestFinished(() => void socket.destroy())
    socket.on('error', () => {}) // it shows as the end
    socket.on('close', () => this.#wake())
    socket.on('data', (chunk) => {
      try {
        this.#receive(chunk, obfuscation)
      } catch {
        socket.destroy()
      }
      this.#wake()
    })
  }

  say(bytes: Uint8Array): void {
    const copy = Uint8Array.from(bytes)
    this.stream?.encrypt(copy)
    this.#socket.write(copy)
  }

  /** The next bytes that it hears; undefined where it ends before them. */
  async hear(length: number): Promise<Buffer | undefined> {
    while (this.#heard.length < length) {
      if (this.#socket.destroyed) return undefined
      await new Promise<void>((resolve) => {
        this.#wake = resolve
      })
    }
    const bytes = this.#heard.subarray(0, length)
    this.#heard = this.#heard.subarray(length)
    return bytes
  }

  #receive(chunk: Buffer, obfuscation: Obfuscation): void {
    let heard: Uint8Array = chunk
    if (this.stream === undefined) {
      const { send, stream, received } = obfuscation.receive(chunk)
      this.#socket.write(send)
      this.stream = stream
      heard = received
    } else this.stream.decrypt(chunk)
    this.#heard = Buffer.concat([this.#heard, heard])
  }
}

/** Both handshakes are through: what is said behind them is understood in both directions. */
async function expectTalk(line: Line, theirs: Buffer): Promise<void> {
  expect(theirs.subarray(0, 20)).toEqual(handshake().subarray(0, 20))
  expect(theirs.subarray(28, 48)).toEqual(Buffer.from(infoHash))
  const first = await line.hear(5)
  expect(first?.[4]).toBe(bitfield)
  await line.hear((first?.readUInt32BE(0) ?? 0) - 1)
  line.say(interested)
  for (let id = -1; id !== unchoke; ) {
    const head = await line.hear(4)
    expect(head).toBeDefined()
    const message = await line.hear(head?.readUInt32BE(0) ?? 0)
    id = message?.[0] ?? -1
  }
}

/** As a swarm does: a connection that ends before its handshake is dialled again. */
async function dial(port: number, options: ObfuscationOptions) {
  for (let attempt = 1; ; attempt++) {
    const obfuscation = Obfuscation.initiate({ infoHash, initialPayload: handshake(), ...options })
    const socket = connect(port, '127.0.0.1')
    const line = new Line(socket, obfuscation)
    await once(socket, 'connect')
    socket.write(obfuscation.start())
    const theirs = await line.hear(68)
    if (theirs !== undefined || attempt === 3) return { line, theirs }
  }
}

async function listen(options: ObfuscationOptions) {
  const hash = Buffer.from(obfuscatedHash(infoHash))
  const findInfoHash = (asked: Uint8Array) => (hash.equals(asked) ? infoHash : undefined)
  const server: Server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  onTestFinished(() => void server.close())
  const address = server.address()
  const port = address !== null && typeof address === 'object' ? address.port : 0
  const accepted = once(server, 'connection').then(
    ([socket]) => new Line(socket as Socket, Obfuscation.respond({ findInfoHash, ...options })),
  )
  return { port, accepted }
}

describeWith('libtorrent', 'libtorrent that requires encryption', () => {
  test.each([
    ['only RC4', encryption(forced, 'rc4'), {}, 'rc4'],
    ['only plaintext', encryption(forced, 'plaintext'), {}, 'plaintext'],
    ['both', encryption(forced, 'both'), {}, 'plaintext'],
    ['both, RC4 first', encryption(forced, 'both', true), {}, 'rc4'],
    ['both, by us with RC4 only', encryption(forced, 'both'), { policy: 'require' }, 'rc4'],
  ] as const)('is dialled: %s', async (_, settings, options, method) => {
    const { child, port } = await seed(settings)
    const { line, theirs } = await dial(port, options)
    expect(line.stream?.method).toBe(method)
    await expectTalk(line, theirs ?? Buffer.alloc(68))
    await child.line(new RegExp(`^PEER ${method}$`))
  })

  test('ends a connection whose only method it does not take', async () => {
    const { port } = await seed(encryption(forced, 'plaintext'))
    const { line, theirs } = await dial(port, { methods: ['rc4'] })
    expect([line.stream, theirs]).toEqual([undefined, undefined])
  })

  test.each([
    ['only RC4', encryption(forced, 'rc4'), {}, 'rc4'],
    ['only plaintext', encryption(forced, 'plaintext'), {}, 'plaintext'],
    ['both', encryption(forced, 'both'), {}, 'plaintext'],
    ['both, we RC4 first', encryption(forced, 'both'), { methods: ['rc4', 'plaintext'] }, 'rc4'],
    ['both, we require', encryption(forced, 'both'), { policy: 'require' }, 'rc4'],
  ] as const)('dials us: %s', async (_, settings, options, method) => {
    const { port, accepted } = await listen(options)
    const { child } = await seed(settings, port)
    const line = await accepted
    const theirs = await line.hear(68)
    expect(line.stream?.method).toBe(method)
    expect(line.stream?.infoHash).toEqual(infoHash)
    line.say(handshake())
    await expectTalk(line, theirs ?? Buffer.alloc(68))
    await child.line(new RegExp(`^PEER ${method}$`))
  })
})

describeWith('libtorrent', 'libtorrent without encryption', () => {
  test('dials us, and all that it says is handed on', async () => {
    const { port, accepted } = await listen({})
    const { child } = await seed(encryption(disabled, 'both'), port)
    const line = await accepted
    const theirs = await line.hear(68)
    expect(line.stream).toMatchObject({ method: undefined })
    line.say(handshake())
    await expectTalk(line, theirs ?? Buffer.alloc(68))
    await child.line(/^PEER none$/)
  })

  test('ends an obfuscated connection', async () => {
    const { port } = await seed(encryption(disabled, 'both'))
    const { line, theirs } = await dial(port, {})
    expect([line.stream, theirs]).toEqual([undefined, undefined])
  })
})
