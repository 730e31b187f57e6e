// `npm test`: lint, types, docs, units, then whole flows with real clients. `npm test -- --units` runs the
// units alone, `--report NAME` names their report. Reports go to reports/; the last line counts all tests.
// ISTHMUS_TEST_REQUIRE_ALL=1 makes every skipped test a failure; ISTHMUS_TEST_SEED repeats a run.
import { spawn } from 'node:child_process'
import { randomInt } from 'node:crypto'
import { mkdirSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { root } from './build.mjs'
import { addCounts, countReport, formatCounts, requireAll, skippedNames } from './counts.mjs'

const { values: options } = parseArgs({
  options: { units: { type: 'boolean', default: false }, report: { type: 'string' } },
})
const strict = process.env.ISTHMUS_TEST_REQUIRE_ALL === '1'
const seed = process.env.ISTHMUS_TEST_SEED ?? String(randomInt(2 ** 31))
const reports = join(root, 'reports')
mkdirSync(reports, { recursive: true })

console.log(`Node ${process.versions.node}, ISTHMUS_TEST_SEED=${seed}`)
const parts = options.units
  ? [await runProject('unit', options.report ?? 'unit')]
  : [await runChecks(), await runProject('unit', 'unit'), await runProject('e2e', 'e2e')]
const counts = parts.reduce(addCounts)
console.log(`\n${formatCounts(counts)}`)
process.exitCode = counts.failed > 0 ? 1 : 0

/** What reads the sources without running them; each counts as one test. */
async function runChecks() {
  const checks = [
    { name: 'lint', args: ['@biomejs/biome/bin/biome', 'check', '.'] },
    { name: 'types', args: ['typescript/bin/tsc', '-p', 'tsconfig.json'] },
    { name: 'docs', args: ['typedoc/bin/typedoc', '--treatWarningsAsErrors'] },
  ]
  const results = []
  for (const { name, args } of checks) {
    const passed = (await section(name, args)) === 0
    results.push({ fullName: name, status: passed ? 'passed' : 'failed' })
  }
  const file = join(reports, 'checks.json')
  const success = results.every(({ status }) => status === 'passed')
  const testResults = [{ status: success ? 'passed' : 'failed', assertionResults: results }]
  writeFileSync(file, `${JSON.stringify({ success, testResults }, null, 2)}\n`)
  return countReport(file)
}

async function runProject(project, report) {
  const file = join(reports, `${report}.json`)
  rmSync(file, { force: true })
  const outputs = ['--reporter=default', '--reporter=json', `--outputFile.json=${file}`]
  const exitCode = await section(report, [
    'vitest/vitest.mjs',
    'run',
    '--project',
    project,
    ...outputs,
  ])
  const counts = countReport(file, exitCode)
  for (const name of skippedNames(file)) console.log(`skipped: ${name}`)
  if (strict && counts.skipped > 0) console.log('ISTHMUS_TEST_REQUIRE_ALL makes them failures')
  return strict ? requireAll(counts) : counts
}

/** Runs a tool of node_modules in the foreground; resolves with its exit code. */
function section(title, [tool, ...args]) {
  console.log(`\n== ${title} ==`)
  const started = performance.now()
  return new Promise((resolve) => {
    const child = spawn(process.execPath, [join(root, 'node_modules', tool), ...args], {
      cwd: root,
      stdio: ['ignore', 'inherit', 'inherit'],
      env: { ...process.env, ISTHMUS_TEST_SEED: seed },
    })
    child.on('error', (error) => {
      console.error(error.message)
      resolve(1)
    })
    child.on('close', (code) => {
      const seconds = ((performance.now() - started) / 1000).toFixed(1)
      console.log(`${title}: ${code === 0 ? 'passed' : 'failed'} in ${seconds} s`)
      resolve(code ?? 1)
    })
  })
}
