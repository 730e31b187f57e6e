import { test } from 'vitest'
import { announceFor } from '../support/announce.ts'
import { Child } from '../support/child.ts'
import { endAfterTest, temporaryDirectory } from '../support/cleanup.ts'
import { sampleFiles, sampleInfoHash, sampleTorrentFile } from '../support/sample.ts'
import { Server } from '../support/server.ts'
import { startTracker } from '../support/tracker.ts'
test('aria', async () => {
  const server = endAfterTest(await Server.start())
  const tracker = endAfterTest(await startTracker())
  await announceFor(tracker.httpUrl, sampleInfoHash, server.peerAddress)
  const dir = await temporaryDirectory()
  const c = endAfterTest(new Child('aria2c', ['--no-conf', '--enable-dht=false', '--enable-dht6=false', '--bt-enable-lpd=false', `--bt-tracker=${tracker.httpUrl}`, '--file-allocation=none', '--seed-time=0','--summary-interval=0', '--enable-color=false', '--console-log-level=debug', `--dir=${dir}`, sampleTorrentFile]))
  await c.line(/OK\):download completed/, 12000).catch(() => {})
  console.log(c.output.split('\n').filter(l => !/Loaded|option|cookie|socket:/i.test(l)).filter(l => /To:|From:|sent |abort|EOF/.test(l)).slice(-70).join('\n').slice(0, 14000))
  console.log(server.output.slice(-500), tracker.announces.length, server.peerAddress)
})
