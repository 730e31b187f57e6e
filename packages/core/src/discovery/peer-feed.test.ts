import { describe, expect, test } from 'vitest'
import { PeerFeed } from './peer-feed.ts'

const peer = (port: number) => ({ host: '192.0.2.1', port })

async function takeAll(feed: PeerFeed): Promise<number[]> {
  const ports: number[] = []
  for await (const { port } of feed) {
    ports.push(port)
    if (ports.length === 3) feed.end()
  }
  return ports
}

describe('a feed of peers', () => {
  test('yields peers in order, each once while it is waiting', async () => {
    const feed = new PeerFeed(10)
    feed.push([peer(1), peer(2), peer(1)])
    feed.push([peer(2), peer(3)])
    expect(await takeAll(feed)).toEqual([1, 2, 3])
  })

  test('yields a peer again that was taken before', async () => {
    const feed = new PeerFeed(10)
    const peers = feed[Symbol.asyncIterator]()
    feed.push([peer(1)])
    expect((await peers.next()).value).toEqual(peer(1))
    const next = peers.next()
    feed.push([peer(1)])
    expect((await next).value).toEqual(peer(1))
  })

  test('drops what exceeds its bound', async () => {
    const feed = new PeerFeed(3)
    feed.push([peer(1), peer(2), peer(3), peer(4)])
    feed.push([peer(5)])
    expect(await takeAll(feed)).toEqual([1, 2, 3])
  })

  test('ends at once, whatever is waiting', async () => {
    const feed = new PeerFeed(10)
    feed.push([peer(1), peer(2)])
    const peers = feed[Symbol.asyncIterator]()
    await peers.next()
    feed.end()
    expect((await peers.next()).done).toBe(true)
  })
})
