// Counts tests in JSON reports of the shape that vitest writes.
// `node scripts/counts.mjs reports/*.json` prints the closing line of all of them together.
import { existsSync, readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'

/** `exitCode` is that of the run that wrote the report: a failure that no test shows still counts as one. */
export function countReport(file, exitCode = 0) {
  if (!existsSync(file)) return { passed: 0, failed: 1, skipped: 0 }
  const report = JSON.parse(readFileSync(file, 'utf8'))
  const counts = { passed: 0, failed: 0, skipped: 0 }
  for (const { status, assertionResults } of report.testResults) {
    const before = counts.failed
    for (const test of assertionResults) {
      if (test.status === 'passed') counts.passed++
      else if (test.status === 'failed') counts.failed++
      else counts.skipped++
    }
    // A file that cannot be loaded has no tests to fail.
    if (status === 'failed' && counts.failed === before) counts.failed++
  }
  if (counts.failed === 0 && (exitCode !== 0 || report.success === false)) counts.failed = 1
  return counts
}

/** Names of what was skipped, one for tests that were skipped together. */
export function skippedNames(file) {
  if (!existsSync(file)) return []
  const tests = JSON.parse(readFileSync(file, 'utf8')).testResults.flatMap(
    (r) => r.assertionResults,
  )
  const skipped = tests.filter(({ status }) => status !== 'passed' && status !== 'failed')
  return [...new Set(skipped.map(({ ancestorTitles, title }) => ancestorTitles[0] || title))]
}

export function addCounts(a, b) {
  return {
    passed: a.passed + b.passed,
    failed: a.failed + b.failed,
    skipped: a.skipped + b.skipped,
  }
}

/** Where nothing may be skipped, a skipped test is a failed one. */
export function requireAll({ passed, failed, skipped }) {
  return { passed, failed: failed + skipped, skipped: 0 }
}

export function formatCounts({ passed, failed, skipped }) {
  return `${passed} passed, ${failed} failed${skipped > 0 ? `, ${skipped} skipped` : ''}`
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const none = { passed: 0, failed: 0, skipped: 0 }
  const all = process.argv
    .slice(2)
    .map((file) => countReport(file))
    .reduce(addCounts, none)
  const strict = process.env.ISTHMUS_TEST_REQUIRE_ALL === '1'
  const counts = strict ? requireAll(all) : all
  console.log(formatCounts(counts))
  process.exitCode = counts.failed > 0 || counts.passed === 0 ? 1 : 0
}
