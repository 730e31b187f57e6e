import { createServer, type RequestListener, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { IsthmusError } from '@isthmus/core'
import type { Output } from './output.ts'

export interface HttpListenerOptions {
  readonly host: string
  /** 0 for a free one. */
  readonly port: number
  /** Takes a free one, and says so, where the port is taken. */
  readonly orAnyFree: boolean
}

/** The HTTP server: bound, but with nobody told of it yet. */
export class HttpListener {
  /** `http://host:port`, as this machine reaches it. */
  readonly url: string
  readonly #server: Server

  private constructor(server: Server, host: string) {
    this.#server = server
    const { port } = server.address() as AddressInfo
    this.url = `http://${urlHost(host)}:${port}`
  }

  /** Rejects with `ISTHMUS_LISTEN_FAILED`, where the port is taken too. */
  static async open(
    listener: RequestListener,
    options: HttpListenerOptions,
    output: Output,
  ): Promise<HttpListener> {
    const { host, port, orAnyFree } = options
    const server = createServer({
      headersTimeout: 10_000,
      requestTimeout: 30_000,
      connectionsCheckingInterval: 1000,
      keepAliveTimeout: 10_000,
      // One chunk of a body.
      highWaterMark: 128 * 1024,
    })
    server.on('request', listener)
    try {
      await bind(server, host, port)
    } catch (cause) {
      if (!orAnyFree || !isTaken(cause)) throw listenFailed(host, port, cause)
      output(`port ${port} is taken by another program: using a free one (--port names one)`)
      await bind(server, host, 0).catch((error: unknown) => {
        throw listenFailed(host, 0, error)
      })
    }
    return new HttpListener(server, host)
  }

  /** Takes no more requests; answers under way may go on for `graceMs`. */
  async close(graceMs: number): Promise<void> {
    const closed = new Promise<void>((resolve) => {
      this.#server.close(() => resolve())
    })
    this.#server.closeIdleConnections()
    const timer = setTimeout(() => this.#server.closeAllConnections(), graceMs)
    await closed
    clearTimeout(timer)
  }
}

function bind(server: Server, host: string, port: number): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject)
    server.listen({ host, port }, () => {
      server.off('error', reject)
      resolve()
    })
  })
}

function isTaken(error: unknown): boolean {
  return error instanceof Error && 'code' in error && error.code === 'EADDRINUSE'
}

function listenFailed(host: string, port: number, cause: unknown): IsthmusError {
  const why = isTaken(cause) ? 'it is taken by another program' : 'the system refused'
  const text = `HTTP cannot be served at port ${port} of ${host}: ${why}`
  return new IsthmusError('ISTHMUS_LISTEN_FAILED', text, { cause })
}

/** What a program on this machine connects to. */
function urlHost(host: string): string {
  if (host === '0.0.0.0') return '127.0.0.1'
  if (host === '::') return '[::1]'
  return host.includes(':') ? `[${host}]` : host
}
