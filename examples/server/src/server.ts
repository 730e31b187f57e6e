import {
  AddressPolicy,
  Client,
  EgressGuard,
  formatPeerAddress,
  MemoryStorage,
  type PeerAddress,
  type Storage,
  type Torrent,
} from '@isthmus/core'
import { allowAll, createHandler, type Handler, toNodeListener, warmUp } from '@isthmus/http'
import { FileSession, FileStorage } from '@isthmus/storage-file'
import { describeError } from './describe-error.ts'
import { refuseUnsupported } from './features.ts'
import { fileUrl, formatBytes, formatShare } from './format.ts'
import { HttpListener } from './http-listener.ts'
import type { Output } from './output.ts'
import { DownloadProgress, withProgress } from './progress.ts'
import { seedSample } from './sample.ts'
import type { Settings } from './settings.ts'

const defaultPort = 8080
const defaultMemoryBytes = 256 * 1024 * 1024
const closeGraceMs = 2000

/** A server that answers. */
export interface RunningServer {
  /** `http://host:port`, as this machine reaches it. */
  readonly url: string
  readonly client: Client
  /** Leaves nothing behind. Answers under way get two seconds to end. */
  close(): Promise<void>
}

/**
 * Composes everything and serves it. The last line that it says is `listening on http://…`: from then
 * on every route answers.
 *
 * Rejects with `ISTHMUS_CONFIG_UNSUPPORTED` before anything is opened, `ISTHMUS_LISTEN_FAILED` where
 * a port is taken, and with what the storage or the sample failed of.
 */
export async function startServer(settings: Settings, output: Output): Promise<RunningServer> {
  refuseUnsupported(settings)
  const closers: (() => Promise<void> | void)[] = []
  const closeAll = async () => {
    const failures: unknown[] = []
    for (const closer of closers.splice(0).reverse()) {
      await Promise.resolve()
        .then(closer)
        .catch((error: unknown) => failures.push(error))
    }
    if (failures.length > 0) throw failures[0]
  }
  let closing: Promise<void> | undefined
  const close = () => {
    closing ??= closeAll()
    return closing
  }
  try {
    return await open(settings, output, (closer) => closers.push(closer), close)
  } catch (error) {
    await close()
    throw error
  }
}

async function open(
  settings: Settings,
  output: Output,
  onClose: (closer: () => Promise<void> | void) => void,
  close: () => Promise<void>,
): Promise<RunningServer> {
  const {
    host = '127.0.0.1',
    port,
    allowAddress = [],
    publicUrl,
    dht = true,
    lsd = false,
  } = settings
  const egress = new EgressGuard({ policy: new AddressPolicy({ allow: allowAddress }) })
  onClose(() => egress.close())
  const client = new Client({
    storage: createStorage(settings, output),
    session:
      settings.data === undefined ? undefined : new FileSession({ directory: settings.data }),
    egress,
    listen: { host: settings.torrentHost ?? '127.0.0.1', port: settings.torrentPort ?? 0 },
    dht: dht && { host: settings.torrentHost },
    lsd,
  })
  onClose(() => client.close())
  describePeers(await client.listen(), output)
  const sample = await openSample(client, output)
  if (dht && settings.torrentHost === undefined) listenEverywhereOnceFound(client, output)
  await restoreSession(client, output)
  const handler = createHandler({
    ...{ client, authorize: allowAll, publicUrl },
    onError: (error) => output(`a request failed: ${describeError(error)}`),
  })
  onClose(() => handler.close())
  await withProgress(warmUp(), () => 'warming up', output)
  const http = await openHttp(handler, { host, port }, output)
  onClose(() => http.close(closeGraceMs))
  const progress = new DownloadProgress(client, output)
  progress.start()
  onClose(() => progress.close())
  describeUrls(publicUrl?.replace(/\/+$/, '') ?? http.url, sample, output)
  output(`listening on ${http.url}`)
  return { url: http.url, client, close }
}

function createStorage({ data, memory }: Settings, output: Output): Storage {
  if (data !== undefined) {
    output(`storage: ${data}`)
    return new FileStorage({ directory: data })
  }
  const maxBytes = memory ?? defaultMemoryBytes
  output(`storage: ${formatBytes(maxBytes)} of memory, nothing is kept (--data DIR keeps it)`)
  return new MemoryStorage({ maxBytes })
}

function describePeers(address: PeerAddress | undefined, output: Output): void {
  if (address !== undefined) output(`peers: accepted at ${formatPeerAddress(address)}`)
}

/** Who finds us in the DHT comes from anywhere: not before there is a torrent to find us by. */
function listenEverywhereOnceFound(client: Client, output: Output): void {
  client.once('torrent', () => {
    client.listenOn().then(
      (address) => describePeers(address, output),
      (error: unknown) => output(`peers: ${describeError(error)}`),
    )
  })
}

/** What `--data` was asked to keep in earlier runs. */
async function restoreSession(client: Client, output: Output): Promise<void> {
  client.on('warning', (error) => {
    if (error.code === 'ISTHMUS_SESSION_INVALID') output(`session: ${error.message}`)
  })
  const restored = await client.restore()
  if (restored > 0) output(`session: ${restored} torrents of earlier runs`)
}

async function openSample(client: Client, output: Output): Promise<Torrent> {
  const opening = seedSample(client)
  const sample = await withProgress(opening, () => 'sample: being opened', output)
  await withProgress(
    sample.isComplete ? Promise.resolve() : sample.verify(),
    () => `sample: ${formatShare(sample.progress)} verified`,
    output,
  )
  const { name, length = 0, files } = sample
  output(`sample: ${name}, ${files.length} files, ${formatBytes(length)}`)
  return sample
}

function openHttp(
  handler: Handler,
  { host, port }: { readonly host: string; readonly port: number | undefined },
  output: Output,
): Promise<HttpListener> {
  const listener = toNodeListener(handler)
  return HttpListener.open(
    (req, res) => listener(req, res),
    { host, port: port ?? defaultPort, orAnyFree: port === undefined },
    output,
  )
}

function describeUrls(base: string, sample: Torrent, output: Output): void {
  output('open, or curl:')
  for (const { path } of sample.files) {
    output(`  curl -O '${fileUrl(base, sample.infoHash, path)}'`)
  }
  output(`  curl '${base}/api/torrents'`)
  output('add a torrent:')
  output(
    `  curl '${base}/api/torrents' -H 'content-type: application/json' -d '{"magnet": "magnet:?…"}'`,
  )
}
