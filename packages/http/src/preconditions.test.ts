import { expect, test } from 'vitest'
import { applicableRange, evaluatePreconditions } from './preconditions.ts'

const range = 'bytes=0-1'

test.each([
  [{}, 'proceed'],
  [{ 'if-none-match': '"e"' }, 'not modified'],
  [{ 'if-none-match': 'W/"e"' }, 'not modified'],
  [{ 'if-none-match': '*' }, 'not modified'],
  [{ 'if-none-match': '"a,b", "e"' }, 'not modified'],
  [{ 'if-none-match': '"x"' }, 'proceed'],
  [{ 'if-none-match': 'e' }, 'proceed'],
  [{ 'if-none-match': '"x,"e","' }, 'proceed'],
  [{ 'if-match': '"e"' }, 'proceed'],
  [{ 'if-match': '*' }, 'proceed'],
  [{ 'if-match': '"x", "e"' }, 'proceed'],
  [{ 'if-match': 'W/"e"' }, 'failed'],
  [{ 'if-match': '"x"' }, 'failed'],
  [{ 'if-match': '"x"', 'if-none-match': '"e"' }, 'failed'],
  [{ 'if-match': '"e"', 'if-none-match': '"e"' }, 'not modified'],
  [{ 'if-modified-since': 'Sat, 29 Oct 2044 19:43:31 GMT' }, 'proceed'],
] as const)('%j: %s', (headers, outcome) => {
  expect(evaluatePreconditions(new Headers(headers), '"e"')).toBe(outcome)
})

test.each([
  [{}, range],
  [{ 'if-range': '"e"' }, range],
  [{ 'if-range': '"x"' }, null],
  [{ 'if-range': 'W/"e"' }, null],
  [{ 'if-range': 'Sat, 29 Oct 1994 19:43:31 GMT' }, null],
  [{ 'if-range': 'garbage' }, null],
] as const)('a range with %j', (headers, applicable) => {
  expect(applicableRange(new Headers({ range, ...headers }), '"e"')).toBe(applicable)
})
