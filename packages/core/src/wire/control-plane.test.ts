import { readFileSync } from 'node:fs'
import ProtocolWire from 'bittorrent-protocol'
import { describe, expect, test } from 'vitest'
import {
  handshakeBytes,
  infoHashSample,
  message,
  numbers,
  splitMessages,
} from '../../../../test/support/wire-messages.ts'
import { isIsthmusError } from '../errors.ts'
import { type BencodeInput, decodeBencode, encodeBencode } from '../metainfo/bencode.ts'
import { type ControlHandler, ControlPlane } from './control-plane.ts'
import type { ExtendedHandshake } from './extended-handshake.ts'
import { decodeHandshake, type Handshake } from './handshake.ts'
import { MessageId } from './message-id.ts'

const ourPeerId = Buffer.from('-XX0000-ourselves   ', 'latin1')
const both = { extended: true, fast: true }

describe('the library', () => {
  test('is the version that the control plane was written for', () => {
    const entry = import.meta.resolve('bittorrent-protocol')
    const { name, version } = JSON.parse(readFileSync(new URL('package.json', entry), 'utf8'))
    // After an update: read its changes against bittorrent-protocol.d.ts and the tests below.
    expect(`${name} ${version}`).toBe('bittorrent-protocol 5.0.9')
  })

  test('has what bittorrent-protocol.d.ts says', () => {
    const wire = new ProtocolWire('', 0)
    const methods = [
      ...(['_push', '_onHandshakeBuffer', '_onMessage', 'use', 'handshake', 'keepAlive'] as const),
      ...(['choke', 'unchoke', 'interested', 'uninterested', 'have', 'bitfield'] as const),
      ...(['haveAll', 'haveNone', 'port', 'allowedFast', 'extended'] as const),
      ...(['on', 'removeAllListeners'] as const),
    ]
    for (const name of methods) expect(typeof wire[name], name).toBe('function')
    expect(wire).toMatchObject({
      amChoking: true,
      amInterested: false,
      peerChoking: true,
      peerInterested: false,
      hasFast: false,
      _finished: false,
      allowedFastSet: [],
      peerAllowedFastSet: [],
      peerExtendedMapping: {},
      extendedHandshake: {},
    })
  })

  test('sends everything through _push, so that nothing reaches its own stream', () => {
    const { control, wireBytes } = open({ role: 'outgoing', peer: both })
    control.unchoke()
    control.interested()
    control.have(1)
    control.keepAlive()
    expect(wireBytes().length).toBeGreaterThan(68)
    const wire = new ProtocolWire('', 0)
    const pushed: Uint8Array[] = []
    wire._push = (bytes) => pushed.push(bytes) > 0
    wire.handshake(infoHashSample, ourPeerId, { fast: true })
    wire.unchoke()
    wire.bitfield(Uint8Array.of(0x80))
    expect(Buffer.concat(pushed)).toEqual(
      Buffer.concat([handshake68(), message(1), message(5, Buffer.of(0x80))]),
    )
    expect((wire as unknown as { read(): unknown }).read()).toBe(null)
  })

  test('is held by no timer', () => {
    const before = process.getActiveResourcesInfo().filter((name) => name === 'Timeout')
    open({ role: 'outgoing', peer: both })
    const after = process.getActiveResourcesInfo().filter((name) => name === 'Timeout')
    expect(after).toHaveLength(before.length)
  })
})

const roles = ['outgoing', 'incoming'] as const

describe.each(roles)('a connection that is %s', (role) => {
  test('opens once both handshakes are through', () => {
    const plane = new Plane()
    const first = role === 'incoming' ? 'receive' : 'send'
    plane[first]()
    expect(plane.handler.calls).toEqual([])
    plane[first === 'send' ? 'receive' : 'send']()
    expect(plane.handler.calls).toEqual(['open'])
  })

  test('says its presence before its extended handshake', () => {
    for (const [which, id] of [
      ['all', MessageId.haveAll],
      ['none', MessageId.haveNone],
      ['some', MessageId.bitfield],
    ] as const) {
      const { sent } = open({ role, peer: both, onOpen: (c) => c.presence(bits, which) })
      expect(sent().map((one) => one.id)).toEqual([id, MessageId.extended])
    }
  })

  test('begins with our handshake, which says BEP 10 and BEP 6', () => {
    const { wireBytes } = open({ role, peer: both })
    const handshake = decodeHandshake(wireBytes().subarray(0, 68))
    expect(Buffer.from(handshake?.reserved ?? []).toString('hex')).toBe('0000000000100004')
    expect(Buffer.from(handshake?.infoHash ?? [])).toEqual(infoHashSample)
    expect(Buffer.from(handshake?.peerId ?? [])).toEqual(ourPeerId)
  })

  test('speaks the fast extension where the peer does, from the first moment', () => {
    for (const fast of [true, false]) {
      const seen: boolean[] = []
      open({ role, peer: { fast }, onOpen: (control) => seen.push(control.hasFast) })
      expect(seen).toEqual([fast])
    }
  })

  test('sends an extended handshake only to whom it says something', () => {
    expect(open({ role, peer: {} }).sent()).toEqual([])
    const { sent } = open({ role, peer: { extended: true } })
    expect(sent()).toHaveLength(1)
    const payload = Buffer.from(sent()[0]?.payload ?? '', 'hex')
    expect(payload[0]).toBe(0)
    const fields = new Map(decodeBencode(payload.subarray(1)) as Map<string, unknown>)
    expect(Object.fromEntries(fields.get('m') as Map<string, unknown>)).toEqual({
      ut_metadata: 1,
      ut_pex: 2,
    })
    expect(fields.get('reqq')).toBe(250)
    expect(fields.get('v')).toEqual(new Uint8Array(Buffer.from('us')))
  })
})

describe('what we have', () => {
  test('is a bitfield to a peer without the fast extension, or nothing', () => {
    const present = (which: 'all' | 'none' | 'some') =>
      open({ role: 'outgoing', peer: {}, onOpen: (c) => c.presence(bits, which) }).sent()
    expect(present('all')).toEqual([{ id: 5, payload: 'a080' }])
    expect(present('some')).toEqual([{ id: 5, payload: 'a080' }])
    expect(present('none')).toEqual([])
  })

  test('is a copy of the bits', () => {
    const own = Uint8Array.from({ length: 400 }, () => 0xff)
    const pushed: Uint8Array[] = []
    const control = new ControlPlane({
      push: (b) => pushed.push(b),
      handler: new Log(),
      extensions: [],
    })
    control.presence(own, 'some')
    own.fill(0)
    expect(Buffer.concat(pushed)).toEqual(message(5, new Uint8Array(400).fill(0xff)))
  })
})

describe('what we say', () => {
  test('is said once, where saying it again changes nothing', () => {
    const { control, sent } = open({ role: 'outgoing', peer: {} })
    for (let turn = 0; turn < 2; turn++) {
      control.unchoke()
      control.interested()
    }
    expect([control.amChoking, control.amInterested]).toEqual([false, true])
    for (let turn = 0; turn < 2; turn++) {
      control.choke()
      control.notInterested()
    }
    expect([control.amChoking, control.amInterested]).toEqual([true, false])
    control.have(7)
    control.keepAlive()
    const said = [
      { id: MessageId.unchoke, payload: '' },
      { id: MessageId.interested, payload: '' },
      { id: MessageId.choke, payload: '' },
      { id: MessageId.notInterested, payload: '' },
      { id: MessageId.have, payload: '00000007' },
      { id: -1, payload: '' },
    ]
    expect(sent()).toEqual(said)
  })
})

describe('what the peer says', () => {
  test('is told in order, and kept', () => {
    const { control, handler } = open({ role: 'outgoing', peer: both })
    expect([control.peerChoking, control.peerInterested]).toEqual([true, false])
    receive(control, message(MessageId.unchoke))
    receive(control, message(MessageId.interested))
    expect([control.peerChoking, control.peerInterested]).toEqual([false, true])
    receive(control, numbers(MessageId.have, 3))
    receive(control, message(MessageId.port, Buffer.of(0x1a, 0xe1)))
    receive(control, numbers(MessageId.suggest, 5))
    receive(control, numbers(MessageId.allowedFast, 6))
    receive(control, message(MessageId.choke))
    receive(control, message(MessageId.notInterested))
    expect([control.peerChoking, control.peerInterested]).toEqual([true, false])
    expect(handler.calls.slice(1)).toEqual([
      'unchoke',
      'interested',
      'have 3',
      'port 6881',
      'suggest 5',
      'allowed fast 6',
      'choke',
      'not interested',
    ])
  })

  test('has indices without a sign, however large', () => {
    const { control, handler } = open({ role: 'outgoing', peer: both })
    for (const index of [399_999, 400_001, 2 ** 31 - 1, 2 ** 31, 2 ** 32 - 1]) {
      receive(control, numbers(MessageId.have, index))
      receive(control, numbers(MessageId.suggest, index))
      receive(control, numbers(MessageId.allowedFast, index))
      const told = [`have ${index}`, `suggest ${index}`, `allowed fast ${index}`]
      expect(handler.calls.slice(-3)).toEqual(told)
    }
  })

  test('about all that it has is told as it came, once', () => {
    const sayings = [
      [message(MessageId.bitfield, Buffer.of(0xf0, 0x80)), 'bitfield f080'],
      [message(MessageId.haveAll), 'have all'],
      [message(MessageId.haveNone), 'have none'],
    ] as const
    for (const [first, call] of sayings) {
      for (const [second] of sayings.slice(1)) {
        const { control, handler } = open({ role: 'outgoing', peer: both })
        receive(control, first)
        expectBroken(() => receive(control, second))
        expect(handler.calls).toEqual(['open', call])
      }
    }
  })

  test('a bitfield may stand for many haves later, but not come in floods', () => {
    const bitfield = message(MessageId.bitfield, Buffer.of(0xf0, 0x80))
    const { control, handler } = open({ role: 'outgoing', peer: both })
    receive(control, message(MessageId.haveNone))
    for (let count = 0; count < 100; count++) receive(control, bitfield)
    expect(handler.calls).toHaveLength(102)
    expectBroken(() => receive(control, bitfield))
  })

  test.each([
    ['suggest', numbers(MessageId.suggest, 1)],
    ['have all', message(MessageId.haveAll)],
    ['have none', message(MessageId.haveNone)],
    ['reject', numbers(MessageId.reject, 0, 0, 1)],
    ['allowed fast', numbers(MessageId.allowedFast, 1)],
  ])('with %s is refused unless the fast extension was agreed on', (_, bytes) => {
    const { control, handler } = open({ role: 'outgoing', peer: { extended: true } })
    expectBroken(() => receive(control, bytes))
    expect(handler.calls).toEqual(['open'])
  })

  test('in messages that nobody knows goes nowhere', () => {
    const { control, handler, sent } = open({ role: 'outgoing', peer: both })
    const before = sent()
    for (const id of [10, 18, 21, 22, 23, 99, 255]) receive(control, message(id, Buffer.of(1)))
    expect(handler.calls).toEqual(['open'])
    expect(sent()).toEqual(before)
  })

  test('is a copy to the library: the buffer may be used again', () => {
    const { control, handler } = open({ role: 'outgoing', peer: both })
    const payloads: Uint8Array[] = []
    handler.onExtension = (_, payload) => void payloads.push(payload)
    const bytes = new Uint8Array(message(MessageId.extended, Buffer.of(1, 1, 2, 3)))
    receive(control, bytes)
    bytes.fill(0)
    expect([...(payloads[0] ?? [])]).toEqual([1, 2, 3])
  })
})

describe('extensions', () => {
  test('are told by the name of the id that we gave them', () => {
    const { control, handler } = open({ role: 'outgoing', peer: both })
    receive(control, message(MessageId.extended, Buffer.of(1), Buffer.from('abc')))
    receive(control, message(MessageId.extended, Buffer.of(2)))
    receive(control, message(MessageId.extended, Buffer.of(3), Buffer.from('abc')))
    receive(control, message(MessageId.extended, Buffer.of(255)))
    expect(handler.calls.slice(1)).toEqual(['ut_metadata 616263', 'ut_pex '])
  })

  test('are sent under the id that the peer gave them, and only where it did', () => {
    const { control, sent } = open({ role: 'outgoing', peer: both })
    const before = sent().length
    control.sendExtension('ut_metadata', Buffer.of(1))
    expect(control.speaks('ut_metadata')).toBe(false)
    extendedHandshake(control, { m: { ut_metadata: 9 } })
    expect(control.speaks('ut_metadata')).toBe(true)
    expect(control.speaks('ut_pex')).toBe(false)
    control.sendExtension('ut_metadata', Buffer.of(1, 2))
    control.sendExtension('ut_pex', Buffer.of(3))
    expect(sent().slice(before)).toEqual([{ id: 20, payload: '090102' }])
  })

  test('are what the latest handshake made of them', () => {
    const { control, sent } = open({ role: 'outgoing', peer: both })
    const before = sent().length
    extendedHandshake(control, { m: { ut_metadata: 9, ut_pex: 4 } })
    extendedHandshake(control, { m: { ut_metadata: 0 } })
    expect(control.speaks('ut_metadata')).toBe(false)
    expect(control.speaks('ut_pex')).toBe(true)
    control.sendExtension('ut_metadata', Buffer.of(1))
    control.sendExtension('ut_pex', Buffer.of(2))
    expect(sent().slice(before)).toEqual([{ id: 20, payload: '0402' }])
  })

  test('that we do not speak are told, but unknown to the library', () => {
    const { control, handler } = open({ role: 'outgoing', peer: both })
    extendedHandshake(control, { m: { ut_holepunch: 4, constructor: 5 }, metadata_size: 77 })
    const told = handler.extended.at(-1)
    expect({ ...told?.extensions }).toEqual({ ut_holepunch: 4, constructor: 5 })
    expect(told?.metadataSize).toBe(77)
    expect(control.speaks('ut_holepunch')).toBe(false)
    expect(control.speaks('constructor')).toBe(false)
    expect(control.speaks('__proto__')).toBe(false)
  })

  test('of a peer that tells them in no strict bencode end the connection', () => {
    const { control, handler } = open({ role: 'outgoing', peer: both })
    for (const text of ['', 'x', 'le', 'd1:md', 'd1:mde1:mdee', 'dex']) {
      const bytes = message(MessageId.extended, Buffer.of(0), Buffer.from(text))
      expectBroken(() => receive(control, bytes))
    }
    expect(handler.extended).toEqual([])
  })

  test('are known already when the handler hears of them', () => {
    const { control, handler } = open({ role: 'outgoing', peer: both })
    const spoken: boolean[] = []
    handler.onExtendedHandshake = () => void spoken.push(control.speaks('ut_metadata'))
    extendedHandshake(control, { m: { ut_metadata: 9 } })
    expect(spoken).toEqual([true])
  })
})

describe('an extension that is withdrawn', () => {
  test('before the handshake is not announced', () => {
    const plane = new Plane()
    plane.control.withdraw('ut_pex')
    plane.send()
    plane.receive()
    const sent = Buffer.concat(plane.pushed).toString('latin1')
    expect(sent).toContain('11:ut_metadatai1e')
    expect(sent).not.toContain('ut_pex')
    receive(plane.control, message(MessageId.extended, Buffer.of(2), Buffer.from('x')))
    expect(plane.handler.calls).toEqual(['open'])
  })

  test('after it is switched off, and what comes of it is passed over', () => {
    const { control, handler, sent } = open({ role: 'outgoing', peer: both })
    control.withdraw('ut_pex')
    const payload = Buffer.concat([Buffer.of(0), encodeBencode({ m: { ut_pex: 0 } })])
    expect(sent().at(-1)).toEqual({ id: MessageId.extended, payload: payload.toString('hex') })
    receive(control, message(MessageId.extended, Buffer.of(2), Buffer.from('x')))
    expect(handler.calls).toEqual(['open'])
  })
})

describe('after close', () => {
  const closed = () => {
    const plane = open({ role: 'outgoing', peer: both })
    extendedHandshake(plane.control, { m: { ut_metadata: 9 } })
    const sent = plane.sent()
    const calls = plane.handler.calls.length
    plane.control.close()
    return { ...plane, before: { sent, calls } }
  }

  test('nothing is sent', () => {
    const { control, sent, before } = closed()
    control.unchoke()
    control.interested()
    control.have(1)
    control.keepAlive()
    control.presence(bits, 'some')
    control.sendExtension('ut_metadata', Buffer.of(1))
    control.sendHandshake(infoHashSample, ourPeerId, {})
    expect(sent()).toEqual(before.sent)
  })

  test('nothing is told', () => {
    const { control, handler, before } = closed()
    receive(control, message(MessageId.unchoke))
    receive(control, numbers(MessageId.have, 1))
    receive(control, message(MessageId.bitfield, Buffer.of(0xff)))
    receive(control, message(MessageId.extended, Buffer.of(1, 2)))
    extendedHandshake(control, { m: {} })
    expect(handler.calls).toHaveLength(before.calls)
    expect(handler.extended).toHaveLength(1)
  })

  test('in the moment of opening, the extended handshake is not sent any more', () => {
    for (const role of roles) {
      const { wireBytes } = open({ role, peer: both, onOpen: (control) => control.close() })
      expect(wireBytes()).toHaveLength(68)
    }
  })
})

const bits = Uint8Array.of(0xa0, 0x80)

interface OpenOptions {
  readonly role: (typeof roles)[number]
  readonly peer: { readonly extended?: boolean; readonly fast?: boolean }
  readonly onOpen?: (control: ControlPlane) => void
}

/** A control plane of which both handshakes are through. */
function open({ role, peer, onOpen }: OpenOptions) {
  const plane = new Plane(peer, onOpen)
  const steps =
    role === 'incoming' ? (['receive', 'send'] as const) : (['send', 'receive'] as const)
  for (const step of steps) plane[step]()
  return {
    control: plane.control,
    handler: plane.handler,
    wireBytes: () => Buffer.concat(plane.pushed),
    sent: () => splitMessages(Buffer.concat(plane.pushed).subarray(68)),
  }
}

class Plane {
  readonly pushed: Uint8Array[] = []
  readonly handler = new Log()
  readonly control: ControlPlane
  readonly #handshake: Handshake

  constructor(peer: OpenOptions['peer'] = both, onOpen: OpenOptions['onOpen'] = () => {}) {
    const { handler, pushed } = this
    this.control = new ControlPlane({
      push: (bytes) => void pushed.push(Uint8Array.from(bytes)),
      handler,
      extensions: ['ut_metadata', 'ut_pex'],
    })
    const { control } = this
    handler.opened = () => onOpen(control)
    const handshake = decodeHandshake(handshakeBytes(peer))
    if (handshake === undefined) throw new Error('no handshake')
    this.#handshake = handshake
  }

  send(): void {
    this.control.sendHandshake(infoHashSample, ourPeerId, { reqq: 250, v: 'us' })
  }

  receive(): void {
    this.control.receiveHandshake(this.#handshake)
  }
}

/** What was told, as text. */
class Log implements ControlHandler {
  readonly calls: string[] = []
  readonly extended: ExtendedHandshake[] = []
  opened: () => void = () => {}
  onOpen(): void {
    this.calls.push('open')
    this.opened()
  }
  onChoke = () => void this.calls.push('choke')
  onUnchoke = () => void this.calls.push('unchoke')
  onInterested = () => void this.calls.push('interested')
  onNotInterested = () => void this.calls.push('not interested')
  onHave = (piece: number) => void this.calls.push(`have ${piece}`)
  onBitfield = (bytes: Uint8Array) =>
    void this.calls.push(`bitfield ${Buffer.from(bytes).toString('hex')}`)
  onHaveAll = () => void this.calls.push('have all')
  onHaveNone = () => void this.calls.push('have none')
  onAllowedFast = (piece: number) => void this.calls.push(`allowed fast ${piece}`)
  onSuggest = (piece: number) => void this.calls.push(`suggest ${piece}`)
  onDhtPort = (port: number) => void this.calls.push(`port ${port}`)
  onExtendedHandshake = (handshake: ExtendedHandshake) => void this.extended.push(handshake)
  onExtension = (name: string, payload: Uint8Array) =>
    void this.calls.push(`${name} ${Buffer.from(payload).toString('hex')}`)
}

/** As frames hands it over: without its length and id. */
function receive(control: ControlPlane, bytes: Uint8Array): void {
  control.receive(bytes[4] ?? 0, bytes.subarray(5))
}

function extendedHandshake(control: ControlPlane, fields: BencodeInput): void {
  receive(control, message(MessageId.extended, Buffer.of(0), encodeBencode(fields)))
}

function handshake68(): Buffer {
  const reserved = Buffer.from('0000000000100004', 'hex')
  return Buffer.concat([handshakeBytes({ reserved }).subarray(0, 48), ourPeerId])
}

function expectBroken(run: () => void): void {
  let thrown: unknown
  try {
    run()
  } catch (error) {
    thrown = error
  }
  expect(isIsthmusError(thrown, 'ISTHMUS_WIRE_PROTOCOL')).toBe(true)
}
