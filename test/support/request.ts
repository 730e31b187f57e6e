import { createHash } from 'node:crypto'
import http from 'node:http'
import { loopback, type Place } from './place.ts'

export interface RequestOptions {
  readonly method?: string | undefined
  readonly headers?: Readonly<Record<string, string>> | undefined
  readonly body?: string | Uint8Array | undefined
  /** @defaultValue the loopback of this machine */
  readonly place?: Place | undefined
  /** Hangs up once so many bytes of the body have come. */
  readonly hangUpAfter?: number | undefined
}

export interface Answer {
  readonly status: number
  readonly headers: http.IncomingHttpHeaders
  readonly bytes: Uint8Array
  /** False where the connection ended before the body did. */
  readonly complete: boolean
}

/** One request on a connection of its own, the target sent exactly as given. */
export function request(url: string, options: RequestOptions = {}): Promise<Answer> {
  const { host, port, target } = split(url)
  const { method = 'GET', headers = {}, body, place = loopback, hangUpAfter = Infinity } = options
  return new Promise((resolve, reject) => {
    const sent = http.request({
      createConnection: () => place.connect(host, port),
      host,
      port,
      path: target,
      method,
      headers: { connection: 'close', ...headers },
    })
    sent.on('error', reject)
    sent.on('response', (response) => {
      sent.removeListener('error', reject).on('error', () => {}) // from here on told by `complete`
      const chunks: Buffer[] = []
      let length = 0
      response.on('data', (chunk: Buffer) => {
        chunks.push(chunk)
        length += chunk.length
        if (length >= hangUpAfter) sent.destroy()
      })
      response.on('error', () => {})
      response.on('close', () => {
        const { statusCode: status = 0, headers, complete } = response
        resolve({ status, headers, bytes: Buffer.concat(chunks), complete })
      })
    })
    sent.end(body)
  })
}

export function json(answer: Answer): unknown {
  return JSON.parse(Buffer.from(answer.bytes).toString())
}

export function sha256(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex')
}

function split(url: string): { host: string; port: number; target: string } {
  const match = url.match(/^http:\/\/(?:\[([^\]]+)\]|([^:/]+)):(\d+)(\/.*)$/)
  if (match === null) throw new TypeError(`${url} is not http://host:port/target`)
  const [, v6, host = v6 ?? '', port, target = '/'] = match
  return { host, port: Number(port), target }
}
