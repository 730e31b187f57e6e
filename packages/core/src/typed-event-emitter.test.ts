import { describe, expect, onTestFinished, test } from 'vitest'
import { typedEventEmitter } from './typed-event-emitter.ts'

type Events = { told: (what: string) => void }
class Teller extends typedEventEmitter<Events>() {}

describe('typedEventEmitter', () => {
  test('tells everybody, in order, and whether anybody listened', () => {
    const teller = new Teller()
    const heard: string[] = []
    expect(teller.emit('told', 'nobody')).toBe(false)
    teller.on('told', (what) => heard.push(`first ${what}`))
    teller.once('told', (what) => heard.push(`once ${what}`))
    expect(teller.emit('told', 'a')).toBe(true)
    expect(teller.emit('told', 'b')).toBe(true)
    expect(heard).toEqual(['first a', 'once a', 'first b'])
  })

  test('a listener may leave while it is told', () => {
    const teller = new Teller()
    const heard: string[] = []
    const leave = () => {
      heard.push('left')
      teller.off('told', leave)
    }
    teller.on('told', leave)
    teller.on('told', (what) => heard.push(what))
    teller.emit('told', 'a')
    teller.emit('told', 'b')
    expect(heard).toEqual(['left', 'a', 'b'])
  })

  test('what a listener throws is uncaught, and reaches neither the others nor whoever tells', async () => {
    const caught = process.listeners('uncaughtException')
    process.removeAllListeners('uncaughtException')
    onTestFinished(() => {
      for (const listener of caught) process.on('uncaughtException', listener)
    })
    const uncaught = new Promise<unknown>((resolve) => process.once('uncaughtException', resolve))
    const teller = new Teller()
    const heard: string[] = []
    const failure = new Error('a bug of the listener')
    teller.on('told', () => {
      throw failure
    })
    teller.on('told', (what) => heard.push(what))
    expect(teller.emit('told', 'a')).toBe(true)
    expect(heard).toEqual(['a'])
    expect(await uncaught).toBe(failure)
  })
})
