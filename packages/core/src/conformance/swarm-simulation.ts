import type { SimulatedConnection } from '../picker/simulated-connection.ts'
import { simulate } from '../picker/simulation.ts'
import type { SwarmReport } from '../picker/swarm-report.ts'
import type { SwarmScenario } from '../picker/swarm-scenario.ts'
import { Readahead } from '../reader/readahead.ts'
import { MemoryBudget } from '../swarm/memory-budget.ts'
import { PieceSuspects } from '../swarm/piece-suspects.ts'

/**
 * Runs a swarm that exists only in memory and in virtual time: the picker, request windows, readahead,
 * memory budget and the search for liars are those of the client; peers, lines and readers behave as
 * the scenario says. Synchronous, without I/O, and the same for the same scenario.
 *
 * @example
 * const peers = [{ bytesPerSecond: 2 ** 21 }, { bytesPerSecond: 2 ** 15 }, { conduct: 'hangs' }] as const
 * const report = simulateSwarm({ seed: 1, peers, readers: [{ reads: [{ start: 0, end: 2 ** 23 }] }] })
 * console.log(report.readers[0]?.reads[0]?.firstPieceMs, report.askedTwice)
 */
export function simulateSwarm(scenario: SwarmScenario): SwarmReport {
  return simulate(scenario, {
    createReadahead: (pieceLength) => new Readahead(pieceLength),
    createSuspects: () => new PieceSuspects<SimulatedConnection>(),
    createBudget: (maxBytes) => new MemoryBudget(maxBytes),
  })
}
