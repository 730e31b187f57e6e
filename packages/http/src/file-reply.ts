import { type ByteRange, type ByteSource, IsthmusError, type ReadOptions } from '@isthmus/core'
import { takeChunk } from './chunk-memory.ts'
import { contentDisposition } from './content-disposition.ts'
import { contentTypeOf, isActiveContent } from './content-type.ts'
import { contentRange, MultipartRanges } from './multipart.ts'
import { applicableRange, evaluatePreconditions } from './preconditions.ts'
import { resolveRanges } from './range-header.ts'
import { emptyReply, errorReply, type Reply } from './reply.ts'
import { StartedBody } from './started-body.ts'

/** A file to be answered with. */
export interface ServedFile extends ByteSource {
  /** Its name without directories. */
  readonly name: string
  readonly etag: string
}

/** How the bytes are got. */
export interface FileReplyOptions {
  /**
   * Aborts the wait for the first chunk, and the read behind it for as long as the body lives. It
   * must have aborted before the reply is disposed of.
   */
  readonly signal: AbortSignal
  /** Whether shared caches may keep the answer. */
  readonly public: boolean
  /** Whether the client wants to save it. */
  readonly download: boolean
}

/**
 * The answer to a GET or HEAD of a file (RFC 9110 §13 to §15). With a body it resolves once the first
 * chunk is there; without one (HEAD, 304, 412, 416) the file is not read at all.
 */
export async function fileReply(
  file: ServedFile,
  request: { readonly method: string; readonly headers: Headers },
  options: FileReplyOptions,
): Promise<Reply> {
  const headers = validatorHeaders(file, options)
  const precondition = evaluatePreconditions(request.headers, file.etag)
  if (precondition === 'not modified') return emptyReply(304, headers)
  if (precondition === 'failed') {
    return errorReply(new IsthmusError('ISTHMUS_REQUEST_PRECONDITION', 'If-Match did not match'))
  }
  describe(headers, file, options)
  // RFC 9110 §14.2: only GET defines ranges.
  if (request.method === 'HEAD') {
    headers.set('content-length', String(file.length))
    return emptyReply(200, headers)
  }
  const ranges = resolveRanges(applicableRange(request.headers, file.etag), file.length)
  if (ranges === 'unsatisfiable') return unsatisfiable(file)
  return bodyReply(file, ranges, headers, options)
}

function validatorHeaders(file: ServedFile, options: FileReplyOptions): Headers {
  return new Headers({
    'accept-ranges': 'bytes',
    etag: file.etag,
    // The bytes behind an info hash never change.
    'cache-control': `${options.public ? 'public' : 'private'}, max-age=31536000, immutable`,
  })
}

function describe(headers: Headers, file: ServedFile, options: FileReplyOptions): void {
  headers.set('content-type', contentTypeOf(file.name))
  headers.set('x-content-type-options', 'nosniff')
  if (options.download || isActiveContent(file.name)) {
    headers.set('content-disposition', contentDisposition('attachment', file.name))
  }
}

function unsatisfiable(file: ServedFile): Reply {
  const error = new IsthmusError(
    'ISTHMUS_RANGE_UNSATISFIABLE',
    `no such range of a file of ${file.length} bytes`,
  )
  return errorReply(error, { 'content-range': `bytes */${file.length}`, 'accept-ranges': 'bytes' })
}

async function bodyReply(
  file: ServedFile,
  ranges: readonly ByteRange[] | 'whole',
  headers: Headers,
  options: FileReplyOptions,
): Promise<Reply> {
  const plan = ranges === 'whole' ? whole(file) : partial(file, ranges, headers)
  headers.set('content-length', String(plan.length))
  if (plan.length === 0) return emptyReply(plan.status, headers)
  const { signal } = options
  const chunks = plan.read({ signal, allocate: takeChunk })
  const body = await StartedBody.start(chunks, { length: plan.length, signal })
  return {
    status: plan.status,
    headers,
    body,
    [Symbol.asyncDispose]: () => body[Symbol.asyncDispose](),
  }
}

interface BodyPlan {
  readonly status: 200 | 206
  readonly length: number
  read(options: ReadOptions): AsyncIterable<Uint8Array>
}

function whole(file: ServedFile): BodyPlan {
  const { length } = file
  return { status: 200, length, read: (options) => file.read({ start: 0, end: length }, options) }
}

function partial(file: ServedFile, ranges: readonly ByteRange[], headers: Headers): BodyPlan {
  const [range] = ranges
  if (range !== undefined && ranges.length === 1) {
    headers.set('content-range', contentRange(range, file.length))
    const length = range.end - range.start
    return { status: 206, length, read: (options) => file.read(range, options) }
  }
  const parts = new MultipartRanges(file, ranges, {
    type: contentTypeOf(file.name),
    boundary: `isthmus-${crypto.randomUUID()}`,
  })
  headers.set('content-type', parts.contentType)
  return { status: 206, length: parts.length, read: (options) => parts.read(options) }
}
