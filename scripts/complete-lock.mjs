// Run after `npm install` where the registry in use has the packages of some platforms only: writes into
// package-lock.json what is missing there, so that `npm ci` takes it on every platform. Adds, never changes.
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { root } from './build.mjs'

const systems = ['android', 'darwin', 'freebsd', 'linux', 'openbsd', 'openharmony', 'win32']
const processors = ['arm', 'arm64', 'ia32', 'loong64', 'ppc64', 'riscv64', 's390x', 'wasm32', 'x64']

const file = join(root, 'package-lock.json')
const lock = JSON.parse(readFileSync(file, 'utf8'))
const missing = Object.values(lock.packages).flatMap((entry) =>
  Object.entries(entry.optionalDependencies ?? {})
    .filter(([name, version]) => /^\d/.test(version) && !(`node_modules/${name}` in lock.packages))
    .map(([name, version]) => [`node_modules/${name}`, platformPackage(name, version, entry)]),
)
const byPath = ([a], [b]) => (a < b ? -1 : 1)
const packages = [...Object.entries(lock.packages), ...missing].sort(byPath)
lock.packages = Object.fromEntries(packages)
writeFileSync(file, `${JSON.stringify(lock, null, 2)}\n`)
console.log(`package-lock.json: ${missing.length} packages of other platforms added`)

/** Such packages are named after their platform: `@scope/name-linux-arm64-musl`. */
function platformPackage(name, version, { dev, license }) {
  const words = name.split(/[/-]/)
  const os = systems.find((system) => words.includes(system))
  const cpu = processors.find((processor) => words.includes(processor))
  const musl = words.some((word) => word.startsWith('musl'))
  const libc = os === 'linux' ? (musl ? 'musl' : 'glibc') : undefined
  return {
    version,
    ...(cpu && { cpu: [cpu] }),
    ...(dev && { dev }),
    ...(libc && { libc: [libc] }),
    ...(license && { license }),
    optional: true,
    ...(os && { os: [os] }),
  }
}
