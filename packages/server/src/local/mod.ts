// The embedded cluster behind `up`, the demo and the tests. (Tests also use testing.ts.)
export * from './model.ts'
export { localAgentId, openLocalCluster } from './local-cluster.ts'
