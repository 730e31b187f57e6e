import { EventEmitter } from 'node:events'
import type typedEmitter from 'typed-emitter'

/** The shape of an emitter whose events and arguments are known to the compiler. */
export type TypedEventEmitter<Events extends typedEmitter.EventMap> = typedEmitter.default<Events>

/** Node's own emitter, typed: a class to extend. */
export function typedEventEmitter<Events extends typedEmitter.EventMap>() {
  return EventEmitter as unknown as new () => TypedEventEmitter<Events>
}
