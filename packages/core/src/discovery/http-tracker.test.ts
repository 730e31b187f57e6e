import { afterEach, describe, expect, test } from 'vitest'
import {
  bencode,
  startTracker,
  type TestTracker,
  type TrackerOptions,
} from '../../../../test/support/tracker.ts'
import { AddressPolicy } from '../net/address-policy.ts'
import { EgressGuard } from '../net/egress-guard.ts'
import type { AnnounceRequest } from './announce.ts'
import { announceHttp } from './http-tracker.ts'

const opened: { close(): Promise<void> }[] = []
afterEach(async () => {
  await Promise.all(opened.splice(0).map((thing) => thing.close()))
})

async function open(options?: TrackerOptions): Promise<TestTracker> {
  const tracker = await startTracker(options)
  opened.push(tracker)
  return tracker
}

function openGuard(allow = ['127.0.0.1', '::1']): EgressGuard {
  const guard = new EgressGuard({ policy: new AddressPolicy({ allow }) })
  opened.push(guard)
  return guard
}

const infoHash = Uint8Array.from({ length: 20 }, (_, i) => i * 13)
const request: AnnounceRequest = {
  infoHash,
  peerId: Buffer.from('-IS0001-%&=+ ?/~._\0\xff', 'latin1'),
  port: 6881,
  event: 'started',
  totals: { uploaded: 1, downloaded: 2, left: 3 },
  key: 0x1020,
}
const failedWith = (code: string, message: unknown = expect.any(String)) =>
  expect.objectContaining({ code, message })

describe('announcing to an HTTP tracker', () => {
  test('tells everything about us', async () => {
    const tracker = await open()
    const reply = await announceHttp(new URL(tracker.httpUrl), request, { guard: openGuard() })
    expect(reply).toMatchObject({ intervalMs: 1_800_000, peers: [], seeders: 0, leechers: 1 })
    expect(tracker.announces).toEqual([
      {
        transport: 'http',
        infoHash: Buffer.from(infoHash).toString('hex'),
        peerId: '-IS0001-%&=+ ?/~._\0\xff',
        host: '127.0.0.1',
        port: 6881,
        event: 'started',
        uploaded: 1,
        downloaded: 2,
        left: 3,
        numWant: 50,
        key: '00001020',
        trackerId: undefined,
        userAgent: 'Isthmus',
        target: expect.stringContaining('compact=1'),
      },
    ])
  })

  test('keeps the query of its URL', async () => {
    const tracker = await open()
    const url = new URL(`${tracker.httpUrl}?passkey=a%20b#x`)
    await announceHttp(url, request, { guard: openGuard() })
    expect(tracker.announces[0]?.target).toMatch(/^\/announce\?passkey=a%20b&info_hash=%00%0D/)
  })

  test('leaves the event out of a regular announce, and names the tracker as it named itself', async () => {
    const tracker = await open()
    const regular: AnnounceRequest = {
      ...request,
      event: 'update',
      numWant: 7,
      trackerId: 'a b\xff',
    }
    await announceHttp(new URL(tracker.httpUrl), regular, { guard: openGuard() })
    expect(tracker.announces[0]).toMatchObject({
      event: 'update',
      numWant: 7,
      trackerId: 'a b\xff',
    })
    expect(tracker.announces[0]?.target).not.toContain('event=')
  })

  test('does not pass for a seeder while the length is unknown', async () => {
    const tracker = await open()
    const unknown = { ...request, totals: { uploaded: 0, downloaded: 0 } }
    await announceHttp(new URL(tracker.httpUrl), unknown, { guard: openGuard() })
    expect(tracker.announces[0]?.left).toBeGreaterThan(0)
  })

  test.each([false, true])(
    'finds who announced before (dictionaries: %s)',
    async (dictionaries) => {
      const tracker = await open({ dictionaries, interval: 120, minInterval: 90 })
      const url = new URL(tracker.httpUrl)
      const guard = openGuard()
      await announceHttp(url, { ...request, port: 7001 }, { guard })
      const reply = await announceHttp(url, { ...request, port: 7002 }, { guard })
      expect(reply).toMatchObject({
        peers: [{ host: '127.0.0.1', port: 7001 }],
        intervalMs: 120_000,
        minIntervalMs: 90_000,
      })
    },
  )

  test('finds peers over IPv6', async (context) => {
    const tracker = await open({ host: '::1' }).catch(() => context.skip('no IPv6 here'))
    const url = new URL(tracker.httpUrl)
    const guard = openGuard()
    await announceHttp(url, { ...request, port: 7001 }, { guard })
    const reply = await announceHttp(url, { ...request, port: 7002 }, { guard })
    expect(reply.peers).toEqual([{ host: '::1', port: 7001 }])
  })

  test('follows a redirect', async () => {
    const first = await open()
    const second = await open()
    const hash = '%61'.repeat(20)
    const location = `${second.httpUrl}?info_hash=${hash}&peer_id=${hash}&port=1`
    first.misbehave({ kind: 'redirect', location })
    const reply = await announceHttp(new URL(first.httpUrl), request, { guard: openGuard() })
    expect(reply.leechers).toBe(1)
    expect(second.announces.length).toBe(1)
  })
})

describe('an HTTP tracker that misbehaves', () => {
  test.each([
    [
      'refuses',
      { kind: 'refuse', reason: 'not registered' },
      'the tracker refused: not registered',
    ],
    ['answers garbage', { kind: 'body', body: '<html>' }, 'the tracker answered no bencode'],
    [
      'breaks off its bencode',
      { kind: 'body', body: 'd5:peers6:abc' },
      'the tracker answered no bencode',
    ],
    ['answers nothing', { kind: 'body', body: '' }, 'the tracker answered no bencode'],
    [
      'answers 503',
      { kind: 'body', body: 'busy', status: 503 },
      expect.stringMatching(/answered 503: the tracker answered no bencode$/),
    ],
    [
      'answers 400 with a reason',
      { kind: 'body', body: bencode({ 'failure reason': 'no such torrent' }), status: 400 },
      expect.stringMatching(/answered 400: the tracker refused: no such torrent$/),
    ],
    [
      'answers 500 with peers',
      { kind: 'body', body: bencode({ peers: '' }), status: 500 },
      expect.stringMatching(/answered 500$/),
    ],
  ] as const)('and %s is a failed tracker', async (_, how, message) => {
    const tracker = await open()
    tracker.misbehave(how)
    const announcing = announceHttp(new URL(tracker.httpUrl), request, { guard: openGuard() })
    await expect(announcing).rejects.toEqual(failedWith('ISTHMUS_TRACKER_FAILED', message))
  })

  test('and answers too much is given up', async () => {
    const tracker = await open()
    tracker.misbehave({ kind: 'body', body: new Uint8Array(1_048_577) })
    const announcing = announceHttp(new URL(tracker.httpUrl), request, { guard: openGuard() })
    await expect(announcing).rejects.toEqual(failedWith('ISTHMUS_FETCH_TOO_LARGE'))
  })

  test('and redirects for ever is given up', async () => {
    const tracker = await open()
    const hash = '%00'.repeat(20)
    const again = `${tracker.httpUrl}?info_hash=${hash}&peer_id=${hash}`
    tracker.misbehave({ kind: 'redirect', location: again })
    const announcing = announceHttp(new URL(tracker.httpUrl), request, { guard: openGuard() })
    await expect(announcing).rejects.toEqual(failedWith('ISTHMUS_FETCH_FAILED'))
    expect(tracker.announces.length).toBe(6)
  })

  test('and says nothing is given up at the deadline', async () => {
    const tracker = await open()
    tracker.misbehave({ kind: 'silence' })
    const options = { guard: openGuard(), timeoutMs: 50 }
    const announcing = announceHttp(new URL(tracker.httpUrl), request, options)
    await expect(announcing).rejects.toEqual(failedWith('ISTHMUS_FETCH_FAILED'))
  })

  test('at an address that is not allowed hears nothing', async () => {
    const tracker = await open()
    const announcing = announceHttp(new URL(tracker.httpUrl), request, { guard: openGuard([]) })
    await expect(announcing).rejects.toEqual(failedWith('ISTHMUS_EGRESS_DENIED'))
    expect(tracker.announces).toEqual([])
  })
})
