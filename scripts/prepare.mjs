// Runs before `npm start` and `npm test`: installs what package-lock.json asks for and builds what has
// changed. Plain Node without dependencies, and no network once everything is installed.
import { createHash } from 'node:crypto'
import { existsSync, mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { build, root, stamps } from './build.mjs'
import { runStep } from './progress.mjs'

const lockFile = join(root, 'package-lock.json')
const installedFile = join(root, 'node_modules/.package-lock.json')
const stamp = join(stamps, 'installed')

checkNode()
process.exitCode = (await install()) && (await build()) ? 0 : 1

function checkNode() {
  const [major, minor] = process.versions.node.split('.').map(Number)
  if (major > 20 || (major === 20 && minor >= 19)) return
  console.error(`Isthmus needs Node 20.19 or newer; this is ${process.versions.node}`)
  process.exit(1)
}

async function install() {
  const print = lockPrint()
  if (isInstalled(print)) return true
  const verb = print === '' ? 'install' : 'ci'
  const title = `installing dependencies (npm ${verb})`
  // Dev dependencies build the packages, whatever NODE_ENV says.
  const args = [verb, '--include=dev', '--no-audit', '--no-fund']
  const { npm_execpath: npm } = process.env
  const installed = npm?.endsWith('.js')
    ? await runStep(title, process.execPath, [npm, ...args], { cwd: root })
    : await runStep(title, 'npm', args, { cwd: root, shell: process.platform === 'win32' })
  if (installed) remember(lockPrint())
  return installed
}

/** Whether node_modules holds what the lock file asks for: installed by us, or by hand since it changed. */
function isInstalled(print) {
  if (!existsSync(installedFile)) return false
  if (existsSync(stamp) && readFileSync(stamp, 'utf8') === print) return true
  const slackMs = 10_000 // npm writes both files in one run
  const byHand =
    print === '' || statSync(installedFile).mtimeMs + slackMs >= statSync(lockFile).mtimeMs
  if (byHand) remember(print)
  return byHand
}

function lockPrint() {
  if (!existsSync(lockFile)) return ''
  return createHash('sha256').update(readFileSync(lockFile)).digest('hex')
}

function remember(print) {
  mkdirSync(stamps, { recursive: true })
  writeFileSync(stamp, print)
}
