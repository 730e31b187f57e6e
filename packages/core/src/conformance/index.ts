export type {
  AskedTwiceReason,
  PeerReport,
  ReaderReport,
  ReadReport,
  ReportedStall,
  SwarmReport,
} from '../picker/swarm-report.ts'
export type {
  SimulatedPeerOptions,
  SimulatedRead,
  SimulatedReaderOptions,
  SwarmScenario,
} from '../picker/swarm-scenario.ts'
export type { ConformanceCase } from './conformance-case.ts'
export { type DiscoveryFixture, discoveryConformance } from './discovery.ts'
export { type StorageTraits, storageConformance } from './storage.ts'
export type { StorageFixture } from './storage-medium.ts'
export type { StorageSample } from './storage-sample.ts'
export { simulateSwarm } from './swarm-simulation.ts'
