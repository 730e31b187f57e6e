import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Resource } from '@isthmus/core'
import type { Handler } from './handler.ts'
import { errorReply, type Reply } from './reply.ts'
import type { HandlerRequest } from './request-context.ts'

/** A request listener of `node:http`, and a middleware of Express and its like. */
export type NodeListener = (
  req: IncomingMessage,
  res: ServerResponse,
  next?: (error?: unknown) => void,
) => void

/**
 * Writes the handler's replies straight to the socket, as fast as the client takes them. A body that
 * fails after its headers went resets the connection. With `next`, a request that no route takes is
 * passed on. Mount it in front of anything that reads bodies.
 */
export function toNodeListener(handler: Handler): NodeListener {
  return (req, res, next) => {
    // Nothing that a client does may reach the process as an exception.
    answer(handler, req, res, next).catch(() => res.destroy())
  }
}

async function answer(
  handler: Handler,
  req: IncomingMessage,
  res: ServerResponse,
  next?: () => void,
): Promise<void> {
  const gone = new AbortController()
  const onClose = () => gone.abort(new DOMException('the client is gone', 'AbortError'))
  res.once('close', onClose)
  // An aborted upload is told to whoever reads the body; without a reader nobody has to know.
  req.on('error', ignore)
  res.on('error', ignore)
  try {
    const reply = await handleSafely(handler, req, gone.signal)
    try {
      if (reply.unrouted === true && next !== undefined) next()
      else if (!res.destroyed) await send(reply, req, res)
    } finally {
      await reply[Symbol.asyncDispose]()
    }
  } finally {
    res.off('close', onClose)
  }
}

async function handleSafely(
  handler: Handler,
  req: IncomingMessage,
  signal: AbortSignal,
): Promise<Reply> {
  let request: HandlerRequest
  try {
    request = toRequest(req, signal)
  } catch (error) {
    return errorReply(error)
  }
  return handler.handle(request)
}

function toRequest(req: IncomingMessage, signal: AbortSignal): HandlerRequest {
  const headers = new Headers()
  for (const [name, value] of Object.entries(req.headers)) {
    // HTTP/2 has pseudo-headers, which are no fields.
    if (value === undefined || name.startsWith(':')) continue
    headers.set(name, Array.isArray(value) ? value.join(', ') : value)
  }
  const method = req.method ?? 'GET'
  const hasBody = method !== 'GET' && method !== 'HEAD'
  return {
    method,
    target: req.url ?? '/',
    headers,
    // Whoever stops reading a body must still be able to answer on the same connection.
    body: hasBody ? req.iterator({ destroyOnReturn: false }) : undefined,
    remoteAddress: req.socket.remoteAddress,
    signal,
  }
}

async function send(reply: Reply, req: IncomingMessage, res: ServerResponse): Promise<void> {
  res.statusCode = reply.status
  for (const [name, value] of reply.headers) res.setHeader(name, value)
  const { body } = reply
  if (body === undefined || req.method === 'HEAD') res.end()
  else if (body instanceof Uint8Array) res.end(body)
  else await pump(body, res)
}

async function pump(body: Resource, res: ServerResponse): Promise<void> {
  let wake: (() => void) | undefined
  const onProgress = () => wake?.()
  res.on('drain', onProgress)
  res.on('close', onProgress)
  try {
    const chunks = body.read()[Symbol.asyncIterator]()
    for (;;) {
      const step = await chunks.next()
      if (res.destroyed) return
      if (step.done === true) break
      const chunk = step.value
      if (res.write(chunk, body.recycle && (() => body.recycle?.(chunk)))) continue
      await new Promise<void>((resolve) => {
        wake = resolve
      })
      if (res.destroyed) return
    }
    res.end()
  } catch {
    // Ending here would pass off a short body as a whole one.
    res.destroy()
  } finally {
    res.off('drain', onProgress)
    res.off('close', onProgress)
  }
}

function ignore(): void {}
