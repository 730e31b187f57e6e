import { describe, expect, test } from 'vitest'
import { LookupSlots } from './lookup-slots.ts'

const { signal } = new AbortController()

describe('lookup slots', () => {
  test('let so many work at once, and the next when one is given back', async () => {
    const slots = new LookupSlots(2)
    const release = await slots.take(signal)
    await slots.take(signal)
    let third = false
    const waiting = slots.take(signal).then(() => {
      third = true
    })
    await Promise.resolve()
    expect(third).toBe(false)
    release()
    await waiting
    expect(third).toBe(true)
  })

  test('are given back once', async () => {
    const slots = new LookupSlots(1)
    const release = await slots.take(signal)
    release()
    release()
    await slots.take(signal)
    const controller = new AbortController()
    const waiting = slots.take(controller.signal)
    controller.abort('enough')
    await expect(waiting).rejects.toBe('enough')
  })

  test('are not lost to who left the line', async () => {
    const slots = new LookupSlots(1)
    const release = await slots.take(signal)
    const controller = new AbortController()
    const gone = slots.take(controller.signal)
    const stays = slots.take(signal)
    controller.abort('enough')
    await expect(gone).rejects.toBe('enough')
    release()
    expect(await stays).toBeTypeOf('function')
  })
})
