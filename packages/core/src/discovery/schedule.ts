/** Runs `run` once after `delayMs`, unless the function that it returns is called before. */
export type Schedule = (run: () => void, delayMs: number) => () => void

/** By timers that do not keep the process alive. */
export function scheduleUnref(run: () => void, delayMs: number): () => void {
  const timer = setTimeout(run, delayMs)
  timer.unref()
  return () => clearTimeout(timer)
}
