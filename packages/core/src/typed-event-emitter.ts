import { EventEmitter } from 'node:events'
import type typedEmitter from 'typed-emitter'

/** The shape of an emitter whose events and arguments are known to the compiler. */
export type TypedEventEmitter<Events extends typedEmitter.EventMap> = typedEmitter.default<Events>

/** Events observe, they never control: a listener that throws has no say in what it was told of. */
class ObservedEmitter extends EventEmitter {
  override emit(event: string | symbol, ...args: unknown[]): boolean {
    const listeners = this.rawListeners(event)
    for (const listener of listeners) {
      try {
        Reflect.apply(listener, this, args)
      } catch (error) {
        // Uncaught, as it would be anywhere else, but on its own.
        process.nextTick(() => {
          throw error
        })
      }
    }
    return listeners.length > 0
  }
}

/**
 * Node's own emitter, typed: a class to extend. What a listener throws is uncaught, and reaches
 * neither the other listeners nor whoever emits.
 */
export function typedEventEmitter<Events extends typedEmitter.EventMap>() {
  return ObservedEmitter as unknown as new () => TypedEventEmitter<Events>
}
