import { connect, createServer, type Server, type Socket } from 'node:net'
import type { PeerAddress } from '../discovery/discovery.ts'
import { IsthmusError } from '../errors.ts'

const READ_BYTES = 256 * 1024

// Every read is handled before the next one begins, so that all sockets can share one buffer; where
// the system fills buffers while we are elsewhere, each socket needs its own.
const sharedBuffer: Uint8Array | undefined =
  process.platform === 'win32' ? undefined : Buffer.allocUnsafeSlow(READ_BYTES)

/** Opens a connection; `receive` gets what comes, in a buffer that is used again afterwards. */
export function connectSocket(
  { host, port }: PeerAddress,
  receive: (chunk: Uint8Array) => void,
): Socket {
  const socket = connect({
    host,
    port,
    noDelay: true,
    onread: {
      buffer: sharedBuffer ?? Buffer.allocUnsafeSlow(64 * 1024),
      callback: (length, buffer) => {
        receive(buffer.subarray(0, length))
        return true
      },
    },
  })
  return socket
}

export interface PeerListenerOptions {
  /** @defaultValue every address of the machine, IPv4 and IPv6 */
  readonly host?: string | undefined
  /** @defaultValue any free one */
  readonly port?: number | undefined
  readonly onConnection: (socket: Socket, address: PeerAddress) => void
}

/** Accepts peers for all torrents of a client. */
export class PeerListener {
  readonly #options: PeerListenerOptions
  #server: Server | undefined
  #listening: Promise<PeerAddress> | undefined

  constructor(options: PeerListenerOptions) {
    this.#options = options
  }

  get address(): PeerAddress | undefined {
    const address = this.#server?.address()
    if (address === null || address === undefined || typeof address === 'string') return undefined
    return { host: address.address, port: address.port }
  }

  /** Rejects with `ISTHMUS_LISTEN_FAILED`. */
  listen(): Promise<PeerAddress> {
    this.#listening ??= this.#listen(this.#options.host, this.#options.port ?? 0).catch(
      (error: unknown) => {
        this.#listening = undefined
        throw error
      },
    )
    return this.#listening
  }

  /** Listens on `host` instead (all addresses of the machine without one), with the same port where that is free there. Connections stay. */
  async moveTo(host?: string): Promise<PeerAddress> {
    const { port = this.#options.port ?? 0 } = (await this.listen()) ?? {}
    await this.#stop()
    this.#listening = this.#listen(host, port).catch(() => this.#listen(host, 0))
    return this.#listening
  }

  async close(): Promise<void> {
    // One that is about to listen would be left behind.
    await this.#listening?.catch(() => {})
    await this.#stop()
  }

  async #stop(): Promise<void> {
    const server = this.#server
    if (server === undefined) return
    this.#server = undefined
    // Resolves at once for those who wait, although connections that came in live on.
    server.close()
    await new Promise<void>((resolve) => setImmediate(resolve))
  }

  #listen(host: string | undefined, port: number): Promise<PeerAddress> {
    return new Promise((resolve, reject) => {
      const server = createServer({ noDelay: true }, (socket) => this.#onConnection(socket))
      server.once('error', (cause) => {
        const where = `${host ?? '*'}:${port}`
        reject(new IsthmusError('ISTHMUS_LISTEN_FAILED', `cannot listen on ${where}`, { cause }))
      })
      server.listen({ port, ...(host === undefined ? {} : { host }) }, () => {
        // Out of descriptors, say: those who knock are lost, the others stay.
        server.on('error', () => {})
        this.#server = server
        resolve(this.address ?? { host: host ?? '::', port })
      })
    })
  }

  #onConnection(socket: Socket): void {
    const { remoteAddress, remotePort } = socket
    // It is gone already.
    if (remoteAddress === undefined || remotePort === undefined) return void socket.destroy()
    const host = remoteAddress.startsWith('::ffff:') ? remoteAddress.slice(7) : remoteAddress
    this.#options.onConnection(socket, { host, port: remotePort })
  }
}
