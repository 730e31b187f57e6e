/** One promise of a contract. Runs under any test runner: a broken promise rejects. */
export interface ConformanceCase {
  readonly name: string
  run(): Promise<void>
}
