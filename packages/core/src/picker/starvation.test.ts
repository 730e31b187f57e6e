import { expect, test } from 'vitest'
import { defaultLimits } from '../limits.ts'
import { Bitfield } from '../metainfo/bitfield.ts'
import { Layout } from '../metainfo/layout.ts'
import { Picker } from './picker.ts'
import { RequestLedger } from './request-ledger.ts'
import { SimulatedConnection } from './simulated-connection.ts'
import { StarvationWatch } from './starvation.ts'
import { emptyPeerReport } from './swarm-report.ts'
import { VirtualClock } from './virtual-clock.ts'

const PIECE = 1024 * 1024

/** A connection that nobody asks for anything, beside one of 1 MiB/s; both have everything. */
function watch({ wanted = 8, bytesPerSecond = 1024 * 1024 } = {}) {
  const layout = new Layout({ pieceLength: PIECE, files: [{ length: 8 * PIECE }] })
  const verified = new Bitfield(8)
  const picker = new Picker<SimulatedConnection>({
    layout,
    verified,
    mayStart: () => true,
    paceOf: (connection) => connection.pace,
    hedgeMs: defaultLimits.hedgeMs,
    random: () => 0,
  })
  for (let piece = 0; piece < wanted; piece++) picker.want(piece)
  const idle = connection()
  const connections = new Set([idle, connection()])
  for (const it of connections) {
    picker.addPeer(it)
    picker.peerHasAll(it, Bitfield.full(8))
  }
  const isPoisoned = () => false
  const transfer = { layout, verified, picker, connections, isPoisoned, isSuspect: isPoisoned }
  const rates = (it: SimulatedConnection) => ({
    bytesPerSecond: it === idle ? bytesPerSecond : 1024 * 1024,
    roundTripMs: 10,
  })
  return { idle, verified, watch: new StarvationWatch(transfer, rates) }
}

function connection(): SimulatedConnection {
  const created = new SimulatedConnection({
    clock: new VirtualClock(),
    limits: defaultLimits,
    requestQueue: 500,
    fast: true,
    ledger: new RequestLedger(),
    report: emptyPeerReport(),
    handler: { onPieces: () => {}, onBlock: () => {}, onReject: () => {}, onTurn: () => {} },
  })
  created.onBitfield(Bitfield.full(8))
  created.onUnchoke()
  return created
}

test('a peer that could deliver, and is asked for nothing, starves', () => {
  const { idle, verified, watch: it } = watch()
  it.look(100)
  it.look(100)
  expect(idle.report).toMatchObject({ starvedMs: 200, longestStarvedMs: 200 })
  verified.fill()
  it.look(100)
  expect(idle.report).toMatchObject({ starvedMs: 200, longestStarvedMs: 200 })
})

test('one that is too slow for what is wanted does not', () => {
  const { idle, watch: it } = watch({ wanted: 1, bytesPerSecond: 8 * 1024 })
  it.look(100)
  expect(idle.report.starvedMs).toBe(0)
})

test('nor does one where nothing is wanted, or that chokes', () => {
  const nothing = watch({ wanted: 0 })
  nothing.watch.look(100)
  expect(nothing.idle.report.starvedMs).toBe(0)
  const choked = watch()
  choked.idle.onChoke()
  choked.watch.look(100)
  expect(choked.idle.report.starvedMs).toBe(0)
})
