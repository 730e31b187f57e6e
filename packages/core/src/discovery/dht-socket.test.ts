import { createSocket } from 'node:dgram'
import fc from 'fast-check'
import { afterEach, describe, expect, test } from 'vitest'
import { mutationsOf, propertyOptions } from '../../../../test/support/property.ts'
import { BencodeDict, decodeBencode, encodeBencode } from '../metainfo/bencode.ts'
import { AddressPolicy } from '../net/address-policy.ts'
import type { PeerAddress } from '../net/peer-address.ts'
import { DhtSocket, type DhtSocketOptions } from './dht-socket.ts'

const cleanups: (() => Promise<unknown>)[] = []

afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup()
})

const id = 'abcdefghij0123456789'
const target = 'mnopqrstuvwxyz123456'
const stranger = { host: '127.0.0.1', port: 6881 }
const bytes = (text: string) => Buffer.from(text, 'latin1')
const ping = bytes(`d1:ad2:id20:${id}e1:q4:ping1:t2:aa1:y1:qe`)

function guarded(options: Partial<DhtSocketOptions> = {}) {
  const asked: PeerAddress[] = []
  const seenAs: string[] = []
  let ms = 0
  const socket = new DhtSocket({
    policy: new AddressPolicy({ allow: ['127.0.0.0/8'] }),
    readOnly: false,
    enforceNodeIds: false,
    sourcePacketsPerSecond: 1e6,
    packetsPerSecond: 1e6,
    now: () => ms,
    onQuery: (node) => asked.push(node),
    onExternalAddress: (_, address) => seenAs.push(address),
    ...options,
  })
  const delivered: string[] = []
  socket.on('message', (datagram: Buffer) => delivered.push(datagram.toString('latin1')))
  const pass = (passedMs: number) => {
    ms += passedMs
  }
  cleanups.push(
    () =>
      new Promise<void>((resolve) => {
        socket.on('close', resolve)
        socket.close()
        setImmediate(resolve)
      }),
  )
  return { socket, delivered, asked, seenAs, pass }
}

/** A node of the test's own, that the socket can write to. */
async function node(host = '127.0.0.1') {
  const socket = createSocket('udp4')
  await new Promise<void>((resolve) => socket.bind(0, host, resolve))
  cleanups.push(() => new Promise<void>((resolve) => socket.close(() => resolve())))
  const waiting: Buffer[] = []
  let arrived = () => {}
  socket.on('message', (datagram) => {
    waiting.push(datagram)
    arrived()
  })
  const next = async (): Promise<BencodeDict> => {
    while (waiting.length === 0) {
      await new Promise<void>((resolve) => {
        arrived = resolve
      })
    }
    const value = decodeBencode(waiting.shift() ?? new Uint8Array())
    if (!(value instanceof BencodeDict)) throw new Error('no message')
    return value
  }
  return { address: { host, port: socket.address().port }, next, waiting }
}

function send(socket: DhtSocket, message: Uint8Array, to: PeerAddress): void {
  socket.send(message, 0, message.length, to.port, to.host, () => {})
}

/** Sends a query as the library does, and returns what answers to it begin and end with. */
async function query(socket: DhtSocket, to: Awaited<ReturnType<typeof node>>) {
  send(socket, bytes(`d1:ad2:id20:${id}e1:q4:ping1:t2:\0\x011:y1:qe`), to.address)
  const t = (await to.next()).get('t')
  if (!(t instanceof Uint8Array)) throw new Error('no transaction')
  return (r: string) =>
    Buffer.concat([bytes(`d1:r${r}1:t${t.length}:`), Buffer.from(t), bytes('1:y1:re')])
}

describe('the socket of the DHT', () => {
  test('hands a query on in its own words, without the id', () => {
    const { socket, delivered, asked } = guarded()
    socket.receive(ping, stranger)
    expect(delivered).toEqual(['d1:ade1:q4:ping1:t2:aa1:y1:qe'])
    expect(asked).toEqual([stranger])
    const announce = `d1:ad2:id20:${id}9:info_hash20:${target}4:porti1e5:token1:x1:zi1ee1:q13:announce_peer1:t2:aa1:y1:qe`
    socket.receive(bytes(announce), stranger)
    const told = `d1:ad9:info_hash20:${target}4:porti1e5:token1:xe1:q13:announce_peer1:t2:aa1:y1:qe`
    expect(delivered[1]).toBe(told)
  })

  test('does not pass on who says that it answers nothing', () => {
    const { socket, delivered, asked } = guarded()
    socket.receive(bytes(`d1:ad2:id20:${id}e1:q4:ping2:roi1e1:t2:aa1:y1:qe`), stranger)
    expect(delivered).toHaveLength(1)
    expect(asked).toEqual([])
  })

  test('hears no query where it is read-only, and says so', async () => {
    const { socket, delivered } = guarded({ readOnly: true })
    socket.receive(ping, stranger)
    expect(delivered).toEqual([])
    await socket.bind(0, '127.0.0.1')
    const other = await node()
    send(socket, ping, other.address)
    expect((await other.next()).get('ro')).toBe(1)
  })

  test.each(['10.0.0.1', '0.0.0.0', '224.0.0.1', '169.254.169.254'])(
    'hears nobody at %s',
    (host) => {
      const { socket, delivered } = guarded()
      socket.receive(ping, { host, port: 6881 })
      expect(delivered).toEqual([])
    },
  )

  test('writes to nobody whom the policy denies', async () => {
    const { socket } = guarded({ policy: new AddressPolicy({ allow: ['127.0.0.2/32'] }) })
    await socket.bind(0, '127.0.0.1')
    const [denied, allowed] = [await node(), await node('127.0.0.2')]
    const reply = encodeBencode({ t: 'aa', y: 'r', r: { id } })
    for (const message of [ping, reply]) send(socket, message, denied.address)
    send(socket, ping, allowed.address)
    await allowed.next()
    expect(denied.waiting).toEqual([])
  })

  test('answers a method that BEP 5 does not know with 204', async () => {
    const { socket, delivered } = guarded()
    await socket.bind(0, '127.0.0.1')
    const other = await node()
    socket.receive(bytes(`d1:ad2:id20:${id}e1:q3:put1:t2:aa1:y1:qe`), other.address)
    const error = await other.next()
    expect(error.get('e')).toEqual([204, Uint8Array.from(bytes('Method Unknown'))])
    expect(delivered).toEqual([])
  })

  test('asks under a transaction of its own, and takes one answer, from there alone', async () => {
    const { socket, delivered, seenAs } = guarded()
    await socket.bind(0, '127.0.0.1')
    const other = await node()
    const answer = await query(socket, other)
    const datagram = answer(`d2:id20:${id}5:token1:xe`)
    socket.receive(datagram, { ...other.address, port: other.address.port ^ 1 })
    socket.receive(datagram, { ...other.address, host: '127.0.0.3' })
    socket.receive(bytes(`d1:rd2:id20:${id}e1:t2:\0\x011:y1:re`), other.address)
    expect(delivered).toEqual([])
    socket.receive(datagram, other.address)
    socket.receive(datagram, other.address)
    expect(delivered).toEqual([`d1:rd2:id20:${id}5:nodes0:5:token1:xe1:t2:\0\x011:y1:re`])
    expect(seenAs).toEqual([])
  })

  test('takes no answer after 10 seconds', async () => {
    const { socket, delivered, pass } = guarded()
    await socket.bind(0, '127.0.0.1')
    const other = await node()
    const answer = await query(socket, other)
    pass(10_001)
    await query(socket, other)
    socket.receive(answer(`d2:id20:${id}e`), other.address)
    expect(delivered).toEqual([])
  })

  test('hands on no node or peer that may not be asked', async () => {
    const { socket, delivered } = guarded()
    await socket.bind(0, '127.0.0.1')
    const other = await node()
    const [here, inner, noPort] = ['\x7f\0\0\x01\0\x09', '\x0a\0\0\x01\0\x09', '\x7f\0\0\x01\0\0']
    const nodes = [here, inner, noPort].map((address) => target + address).join('')
    const values = [here, inner, noPort].map((address) => `6:${address}`).join('')
    const answer = await query(socket, other)
    socket.receive(answer(`d2:id20:${id}5:nodes78:${nodes}6:valuesl${values}ee`), other.address)
    expect(delivered).toEqual([
      `d1:rd2:id20:${id}5:nodes26:${target}${here}6:valuesl6:${here}ee1:t2:\0\x011:y1:re`,
    ])
  })

  test('hands on one node of each public address', async () => {
    const { socket, delivered } = guarded()
    await socket.bind(0, '127.0.0.1')
    const other = await node()
    const nodes = [1, 2, 3].map((port) => `${target}\x01\x01\x01\x01\0${String.fromCharCode(port)}`)
    const answer = await query(socket, other)
    socket.receive(answer(`d2:id20:${id}5:nodes78:${nodes.join('')}e`), other.address)
    expect(delivered).toEqual([`d1:rd2:id20:${id}5:nodes26:${nodes[0]}e1:t2:\0\x011:y1:re`])
  })

  test('enforces BEP 42 where it is told to', async () => {
    const { socket, delivered, asked } = guarded({ enforceNodeIds: true })
    await socket.bind(0, '127.0.0.1')
    const fits = Buffer.from('5fbfbff10c5d6a4ec8a88e4c6ab4c28b95eee401', 'hex').toString('latin1')
    const address = '\x7c\x1f\x4b\x15\0\x09' // 124.31.75.21
    const other = await node()
    const answer = await query(socket, other)
    const nodes = `${target}${address}${fits}${address}`
    socket.receive(answer(`d2:id20:${id}5:nodes52:${nodes}5:token1:xe`), other.address)
    // Local networks are exempt, so the token of 127.0.0.1 stays.
    const r = `d2:id20:${id}5:nodes26:${fits}${address}5:token1:xe`
    expect(delivered).toEqual([`d1:r${r}1:t2:\0\x011:y1:re`])
    socket.receive(ping, { host: '124.31.75.21', port: 9 })
    expect(delivered).toHaveLength(2)
    expect(asked).toEqual([])
  })

  test('keeps replies small, and tells where it sees whom it answers', async () => {
    const { socket } = guarded()
    await socket.bind(0, '127.0.0.1')
    const other = await node()
    const { port } = other.address
    const values = Array.from({ length: 5000 }, () => 'axje.u')
    send(socket, encodeBencode({ t: 'aa', y: 'r', r: { id, values } }), other.address)
    const peers = await other.next()
    const ip = peers.get('ip')
    expect(ip).toEqual(Uint8Array.of(127, 0, 0, 1, port >> 8, port & 0xff))
    const r = peers.get('r')
    expect(r instanceof BencodeDict && r.get('values')).toHaveLength(50)
    const nodes = new Uint8Array(26 * 20)
    send(socket, encodeBencode({ t: 'aa', y: 'r', r: { id, nodes } }), other.address)
    const answer = (await other.next()).get('r')
    expect(answer instanceof BencodeDict && answer.get('nodes')).toHaveLength(26 * 8)
  })

  test('looks at so many datagrams of one network, and of all', () => {
    const { socket, delivered, pass } = guarded({
      policy: new AddressPolicy(),
      sourcePacketsPerSecond: 20,
      packetsPerSecond: 50,
    })
    const flood = (network: number) => {
      for (let i = 0; i < 1000; i++) {
        socket.receive(ping, { host: `1.1.${network}.${i & 0xff}`, port: 1 + i })
      }
      return delivered.splice(0).length
    }
    expect(flood(1)).toBe(100)
    expect(flood(2)).toBe(100)
    expect(flood(3)).toBe(50)
    expect(flood(4)).toBe(0)
    pass(1000)
    expect(flood(1)).toBe(20)
    expect([5, 6, 7].map(flood)).toEqual([30, 0, 0])
  })

  test('takes the answers that it waits for through a flood', async () => {
    const { socket, delivered } = guarded({ packetsPerSecond: 10, sourcePacketsPerSecond: 10 })
    await socket.bind(0, '127.0.0.1')
    const other = await node()
    const answer = await query(socket, other)
    for (let i = 0; i < 1000; i++) socket.receive(ping, { host: `127.1.${i & 0xff}.1`, port: 1 })
    delivered.length = 0
    socket.receive(answer(`d2:id20:${id}e`), other.address)
    expect(delivered).toHaveLength(1)
  })

  test('takes few announces from one network', () => {
    const { socket, delivered } = guarded({ sourcePacketsPerSecond: 20 })
    for (let port = 1; port <= 50; port++) {
      const announce = `d1:ad2:id20:${id}9:info_hash20:${target}4:porti${port}e5:token1:xe1:q13:announce_peer1:t2:aa1:y1:qe`
      socket.receive(bytes(announce), stranger)
    }
    expect(delivered).toHaveLength(10)
  })

  test('hears and says nothing once it is closed', async () => {
    const { socket, delivered } = guarded()
    await socket.bind(0, '127.0.0.1')
    const other = await node()
    const closed = new Promise((resolve) => socket.on('close', resolve))
    socket.close()
    socket.close()
    socket.receive(ping, stranger)
    send(socket, ping, other.address)
    await closed
    expect(delivered).toEqual([])
  })

  test('hands on nothing but short messages of BEP 5, whatever comes in', () => {
    const { socket, delivered } = guarded()
    const samples = [
      ping,
      bytes(`d1:ad2:id20:${id}6:target20:${target}e1:q9:find_node1:t2:aa1:y1:qe`),
      bytes(`d1:ad2:id20:${id}9:info_hash20:${target}e1:q9:get_peers1:t2:aa1:y1:qe`),
      bytes(`d1:rd2:id20:${id}6:valuesl6:axje.uee1:t2:aa1:y1:re`),
      bytes('d-3:e'),
      bytes('l-3:e'),
    ]
    const queries = /^d1:ad(?:6:target20:|9:info_hash20:|e).*1:t\d+:.{1,32}1:y1:qe$/s
    const input = fc.oneof(mutationsOf(samples), fc.uint8Array({ maxLength: 2000 }))
    fc.assert(
      fc.property(input, (datagram) => {
        socket.receive(datagram, stranger)
        for (const message of delivered.splice(0)) {
          if (!queries.test(message) || message.length > 400) throw new Error(message)
        }
      }),
      propertyOptions('DHT datagrams'),
    )
  }, 60_000)
})
