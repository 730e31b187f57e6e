import { readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { defaultLimits } from '../../packages/core/src/limits.ts'

const readme = readFileSync(new URL('../../README.md', import.meta.url), 'utf8')

test('the README lists every limit with its default', () => {
  const rows = [...readme.matchAll(/^\| `(\w+)` \| ([\d ]+?)(?: \([^)]*\))? \| \S.* \|$/gm)]
  const listed = Object.fromEntries(
    rows.map(([, name = '', value = '']) => [name, Number(value.replaceAll(' ', ''))]),
  )
  expect(listed).toEqual({ ...defaultLimits })
})
