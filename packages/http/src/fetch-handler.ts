import type { Resource } from '@isthmus/core'
import type { Handler } from './handler.ts'
import type { Reply } from './reply.ts'

/** A handler in the shape of the Fetch standard. */
export type FetchHandler = (request: Request) => Promise<Response>

/**
 * Answers with a `Response` whose body is read as fast as the client takes it. A body that fails
 * errors its stream. Cancelling the body, or aborting the request's signal, ends the work behind it.
 */
export function toFetchHandler(handler: Handler): FetchHandler {
  return async (request) => {
    const { pathname, search } = new URL(request.url)
    const reply = await handler.handle({
      method: request.method,
      target: `${pathname}${search}`,
      headers: request.headers,
      body: (request.body ?? undefined) as AsyncIterable<Uint8Array> | undefined,
      signal: request.signal,
    })
    const init = { status: reply.status, headers: reply.headers }
    const { body } = reply
    if (body === undefined || body instanceof Uint8Array || request.method === 'HEAD') {
      await reply[Symbol.asyncDispose]()
      const bytes = body instanceof Uint8Array && request.method !== 'HEAD' ? body : null
      return new Response(bytes as Uint8Array<ArrayBuffer> | null, init)
    }
    return new Response(streamOf(body, reply, request.signal), init)
  }
}

function streamOf(body: Resource, reply: Reply, signal: AbortSignal): ReadableStream<Uint8Array> {
  const chunks = body.read()[Symbol.asyncIterator]()
  const dispose = async () => {
    signal.removeEventListener('abort', dispose)
    await reply[Symbol.asyncDispose]()
  }
  // Not every server cancels the body of a client that left.
  signal.addEventListener('abort', dispose, { once: true })
  return new ReadableStream<Uint8Array>(
    {
      async pull(controller) {
        try {
          const step = await chunks.next()
          if (step.done !== true) return controller.enqueue(step.value)
          controller.close()
        } catch (error) {
          controller.error(error)
        }
        await dispose()
      },
      cancel: dispose,
    },
    // Nothing is read ahead of the client.
    { highWaterMark: 0 },
  )
}
