import { once } from 'node:events'
import { createServer } from 'node:net'
import { expect, test } from 'vitest'
import { warmUp } from './warm-up.ts'

test('warming up ends by itself, and leaves no socket behind', async () => {
  const sockets = () =>
    process.getActiveResourcesInfo().filter((name) => /^(TCP|Pipe)/.test(name)).length
  // Something of ours, so that counting is not of nothing.
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const before = sockets()
  await warmUp({ bytes: 2 * 1024 * 1024 })
  // Sockets that were destroyed are gone a turn later.
  for (let turns = 0; turns < 100 && sockets() > before; turns++) {
    await new Promise((resolve) => setImmediate(resolve))
  }
  expect(sockets()).toBeLessThanOrEqual(before)
  server.close()
})
