// Receiving 16 KiB blocks alone, without a hash: `receive.mjs send` answers every request from memory and
// prints its port, `receive.mjs receive PORT BYTES` asks for blocks and prints what it cost.
import { randomBytes } from 'node:crypto'
import { connect, createServer } from 'node:net'
import { createLimits, Wire } from '@isthmus/core'

const BLOCK = 16_384
const PIECE = 1024 * 1024
const OUTSTANDING = 500
const infoHash = Buffer.alloc(20, 1)
const ignore = () => {}
const quiet = Object.fromEntries(
  [
    'onHandshake',
    'onOpen',
    'onChoke',
    'onUnchoke',
    'onInterested',
    'onNotInterested',
    'onHave',
    'onBitfield',
  ]
    .concat([
      'onHaveAll',
      'onHaveNone',
      'onAllowedFast',
      'onSuggest',
      'onDhtPort',
      'onExtendedHandshake',
    ])
    .concat(['onExtension', 'onBlockStart', 'onBlock', 'onReject', 'onTurn', 'onClose'])
    .map((name) => [name, ignore]),
)
const options = (handler) => ({ handler, limits: createLimits(), extensions: [] })
const [mode, port, bytes] = process.argv.slice(2)
if (mode === 'send') send()
else receive(Number(port), Number(bytes))

function send() {
  const piece = randomBytes(PIECE)
  const server = createServer({ noDelay: true }, (socket) => {
    const wire = new Wire(socket, options({ ...quiet, onInterested: () => wire.setChoking(false) }))
    wire.data.serve({
      pieceRange: (index) => ({ start: index * PIECE, end: (index + 1) * PIECE }),
      read: async ({ start, end }) => piece.subarray(start % PIECE, (start % PIECE) + end - start),
    })
    wire.control.sendHandshake(infoHash, randomBytes(20), {})
    socket.on('data', (chunk) => wire.receive(chunk))
  })
  server.listen(0, '127.0.0.1', () => console.log('READY', server.address().port))
  process.once('SIGTERM', () => process.exit())
}

function receive(port, bytes) {
  const target = new Uint8Array(PIECE)
  const blocks = bytes / BLOCK
  let asked = 0
  let came = 0
  let start
  const ask = () => {
    while (asked < blocks && wire.data.outstanding < OUTSTANDING) {
      const at = asked++ * BLOCK
      const request = { piece: Math.floor(at / PIECE), begin: at % PIECE, length: BLOCK }
      wire.data.request(request, performance.now())
    }
  }
  const socket = connect({
    host: '127.0.0.1',
    port,
    noDelay: true,
    onread: {
      buffer: Buffer.allocUnsafeSlow(256 * 1024),
      callback: (length, buffer) => {
        wire.receive(buffer.subarray(0, length))
        return true
      },
    },
  })
  const wire = new Wire(
    socket,
    options({
      ...quiet,
      onOpen: () => wire.control.interested(),
      onUnchoke: () => {
        start = { time: performance.now(), cpu: process.cpuUsage() }
        ask()
      },
      onBlockStart: ({ begin }) => ({ target, offset: begin }),
      onBlock: () => {
        if (++came === blocks) finish()
      },
      onTurn: () => {
        if (wire.data.outstanding < (OUTSTANDING * 7) / 8) ask()
      },
    }),
  )
  wire.setShape({ pieceCount: bytes / PIECE, pieceLength: PIECE, pieceSize: () => PIECE })
  wire.control.sendHandshake(infoHash, randomBytes(20), {})
  const finish = () => {
    const seconds = (performance.now() - start.time) / 1000
    const { user, system } = process.cpuUsage(start.cpu)
    console.log('DONE', JSON.stringify({ seconds, cpu: (user + system) / 1e6 }))
    wire.close()
  }
}
