import { jsonReply, type Reply } from '../reply.ts'
import { byMethod, type RequestContext } from '../request-context.ts'

const methods = new Map([['GET', () => jsonReply(200, { status: 'ok' })]])

/** `GET /healthz`: the process answers. Open to everybody. */
export async function health(context: RequestContext): Promise<Reply> {
  return byMethod(context, methods)
}
