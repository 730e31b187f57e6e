import { describe, expect, test, vi } from 'vitest'
import { MemoryBudget } from './memory-budget.ts'

describe('MemoryBudget', () => {
  test('gives until it is full, and again what was given back', () => {
    const budget = new MemoryBudget(100)
    const retry = vi.fn()
    expect(budget.take(60, retry)).toBe(true)
    expect(budget.take(40, retry)).toBe(true)
    expect(budget.take(1, retry)).toBe(false)
    expect(budget.heldBytes).toBe(100)
    expect(retry).not.toHaveBeenCalled()
    budget.give(40)
    expect(retry).toHaveBeenCalledTimes(1)
    expect(budget.take(40, retry)).toBe(true)
  })

  test('more than everything is given to one who holds it alone', () => {
    const budget = new MemoryBudget(100)
    expect(budget.take(1, () => {})).toBe(true)
    expect(budget.take(500, () => {})).toBe(false)
    budget.give(1)
    expect(budget.take(500, () => {})).toBe(true)
    expect(budget.take(1, () => {})).toBe(false)
    budget.give(500)
    expect(budget.heldBytes).toBe(0)
  })

  test('who waits is called once per refusal, also when asking again is in vain', () => {
    const budget = new MemoryBudget(100)
    budget.take(100, () => {})
    const retry = vi.fn(() => void budget.take(80, retry))
    budget.take(80, retry)
    budget.take(80, retry)
    budget.give(10)
    expect(retry).toHaveBeenCalledTimes(1)
    budget.give(10)
    expect(retry).toHaveBeenCalledTimes(2)
    budget.give(80)
    expect(retry).toHaveBeenCalledTimes(3)
    expect(budget.heldBytes).toBe(80)
    budget.give(80)
    expect(retry).toHaveBeenCalledTimes(3)
  })

  test('what others can do without is asked for before anybody is refused', () => {
    const budget = new MemoryBudget(100)
    budget.take(100, () => {})
    const reclaim = vi.fn(() => budget.give(30))
    budget.join(reclaim)
    expect(budget.take(30, () => {})).toBe(true)
    expect(reclaim).toHaveBeenCalledTimes(1)
  })

  test('who left is neither asked nor called', () => {
    const budget = new MemoryBudget(100)
    const reclaim = vi.fn()
    const retry = vi.fn()
    budget.join(reclaim)
    budget.take(100, () => {})
    budget.take(1, retry)
    expect(reclaim).toHaveBeenCalledTimes(1)
    budget.leave(reclaim, retry)
    budget.take(1, () => {})
    budget.give(100)
    expect(reclaim).toHaveBeenCalledTimes(1)
    expect(retry).not.toHaveBeenCalled()
  })
})
