import { spawnSync } from 'node:child_process'
import { networkInterfaces } from 'node:os'
import { describe, test } from 'vitest'
import { namespacesWork } from './place.ts'

/** What a test may need of the machine: real clients, and networks to put them in. */
export type Need = 'libtorrent' | 'transmission' | 'aria2' | 'IPv6' | 'network namespaces'

/** Debian's Python, whose packages are Debian's too; another one in PATH has others. */
export const debianPython = '/usr/bin/python3'

const checks: Readonly<Record<Need, () => boolean>> = {
  libtorrent: () => runs(debianPython, ['-c', 'import libtorrent']),
  transmission: () => runs('transmission-daemon', ['--version']),
  aria2: () => runs('aria2c', ['--version']),
  IPv6: () =>
    Object.values(networkInterfaces()).some((all) => all?.some(({ address }) => address === '::1')),
  'network namespaces': namespacesWork,
}
const found = new Map<Need, boolean>()

/**
 * A `describe` that runs where this machine has all of `needs`. Elsewhere it is skipped, and its name says
 * so; with ISTHMUS_TEST_REQUIRE_ALL=1 it fails.
 */
export function describeWith(needs: Need | readonly Need[], name: string, fn: () => void): void {
  const missing = [needs].flat().filter((need) => !has(need))
  const without = `no ${missing.join(' and no ')} on this machine`
  if (missing.length === 0) describe(name, fn)
  else if (process.env.ISTHMUS_TEST_REQUIRE_ALL === '1') {
    test(name, () => {
      throw new Error(`${without}, and ISTHMUS_TEST_REQUIRE_ALL is set`)
    })
  } else describe.skip(`${name} [skipped: ${without}]`, fn)
}

export function has(need: Need): boolean {
  const known = found.get(need) ?? checks[need]()
  found.set(need, known)
  return known
}

function runs(command: string, args: readonly string[]): boolean {
  return spawnSync(command, args, { stdio: 'ignore', timeout: 20_000 }).status === 0
}
