// Builds the workspaces that have a `build` script, in the order of the root package.json, which is the
// order of their dependencies. `node scripts/build.mjs` builds all; prepare.mjs builds what has changed.
import { createHash } from 'node:crypto'
import { existsSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { runStep } from './progress.mjs'

export const root = resolve(fileURLToPath(import.meta.url), '../..')
export const stamps = join(root, 'node_modules/.isthmus')

/** @returns {Promise<boolean>} whether everything is built now */
export async function build({ force = false } = {}) {
  for (const folder of readPackage(root).workspaces) {
    const { name, scripts } = readPackage(join(root, folder))
    if (!scripts?.build) continue
    const stamp = join(stamps, `${name.replace('/', '+')}.built`)
    const print = fingerprint(folder)
    if (!force && isBuilt(folder, stamp, print)) continue
    const tsup = join(root, 'node_modules/tsup/dist/cli-default.js')
    const built = await runStep(`building ${name}`, process.execPath, [tsup], {
      cwd: join(root, folder),
    })
    if (!built) return false
    mkdirSync(stamps, { recursive: true })
    writeFileSync(stamp, print)
  }
  return true
}

function readPackage(folder) {
  return JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8'))
}

function isBuilt(folder, stamp, print) {
  const dist = join(root, folder, 'dist')
  // The stamp is written last, so a build that was interrupted does not count.
  return existsSync(dist) && existsSync(stamp) && readFileSync(stamp, 'utf8') === print
}

/** Names, sizes and times of everything that goes into a build: differs both when files get newer and older. */
function fingerprint(folder) {
  const files = ['tsconfig.base.json', join(folder, 'package.json'), join(folder, 'tsup.config.ts')]
  for (const file of readdirSync(join(root, folder, 'src'), { recursive: true })) {
    if (file.endsWith('.ts') && !file.endsWith('.test.ts')) files.push(join(folder, 'src', file))
  }
  const hash = createHash('sha256')
  for (const file of files.sort()) {
    const { size, mtimeMs } = statSync(join(root, file))
    hash.update(`${file}\0${size}\0${mtimeMs}\n`)
  }
  return hash.digest('hex')
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  process.exitCode = (await build({ force: true })) ? 0 : 1
}
