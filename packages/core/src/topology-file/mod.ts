// Topology files: the static mode, in which a file takes the place of catalog and manager.
export {
  parseTopologyFile,
  readTopologyFile,
  topologyCharsMax,
  type Topology,
  type TopologyMistake,
  type TopologyReading,
} from './read.ts'
export { TopologyVersions, type FileVersion } from './versions.ts'
