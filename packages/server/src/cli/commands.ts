// The command table: one line a command, in the order of help.
import { adopt } from './commands/adopt.ts'
import { auditExport } from './commands/audit-export.ts'
import { auditList } from './commands/audit-list.ts'
import { auditVerify } from './commands/audit-verify.ts'
import { completionCommand } from './commands/completion.ts'
import { configShow } from './commands/config-show.ts'
import { failoverExplain } from './commands/failover-explain.ts'
import { jobGet } from './commands/job-get.ts'
import { jobList } from './commands/job-list.ts'
import { key } from './commands/key.ts'
import { keyspaceCreate } from './commands/keyspace-create.ts'
import { keyspaceDelete } from './commands/keyspace-delete.ts'
import { keyspaceGet } from './commands/keyspace-get.ts'
import { keyspaceList } from './commands/keyspace-list.ts'
import { keyspaceUpdate } from './commands/keyspace-update.ts'
import { nodeCreate } from './commands/node-create.ts'
import { nodeDelete } from './commands/node-delete.ts'
import { nodeList } from './commands/node-list.ts'
import { nodeAdd, nodeRebuild, nodeRemove } from './commands/node-replica.ts'
import { reshardMerge } from './commands/reshard-merge.ts'
import { reshardMove } from './commands/reshard-move.ts'
import {
  reshardCancel,
  reshardComplete,
  reshardPause,
  reshardResume,
  reshardReverse,
} from './commands/reshard-order.ts'
import { reshardRebalance } from './commands/reshard-rebalance.ts'
import { reshardSplit } from './commands/reshard-split.ts'
import { reshardWatch } from './commands/reshard-watch.ts'
import { route } from './commands/route.ts'
import { secretsRotate } from './commands/secrets-rotate.ts'
import { shardCreate } from './commands/shard-create.ts'
import { shardDelete } from './commands/shard-delete.ts'
import { shardGet } from './commands/shard-get.ts'
import { shardList } from './commands/shard-list.ts'
import { shardPromote } from './commands/shard-promote.ts'
import { shardUpdate } from './commands/shard-update.ts'
import { sql } from './commands/sql.ts'
import { status } from './commands/status.ts'
import { switchover } from './commands/switchover.ts'
import { tableCreate } from './commands/table-create.ts'
import { tableDeclare } from './commands/table-declare.ts'
import { tableDelete } from './commands/table-delete.ts'
import { tableGet } from './commands/table-get.ts'
import { tableList } from './commands/table-list.ts'
import { tableSuggest } from './commands/table-suggest.ts'
import { tokenCreate } from './commands/token-create.ts'
import { tokenList } from './commands/token-list.ts'
import { tokenRevoke } from './commands/token-revoke.ts'
import { vdiff } from './commands/vdiff.ts'
import { topologyValidate } from './commands/topology-validate.ts'
import { wait } from './commands/wait.ts'
import { roleCommands, type RoleRunners } from './role-commands.ts'
import type { CommandSpec } from './spec.ts'

/** All commands, with those of roles/ whose functions are given. */
export function commandTable(runners: RoleRunners): readonly CommandSpec[] {
  const table: readonly CommandSpec[] = [
    ...roleCommands(runners),
    status,
    sql,
    route,
    key,
    keyspaceCreate,
    keyspaceList,
    keyspaceGet,
    keyspaceUpdate,
    keyspaceDelete,
    adopt,
    tableCreate,
    tableDeclare,
    tableList,
    tableGet,
    tableDelete,
    tableSuggest,
    shardCreate,
    shardList,
    shardGet,
    shardUpdate,
    shardPromote,
    switchover,
    failoverExplain,
    shardDelete,
    reshardSplit,
    reshardMerge,
    reshardMove,
    reshardRebalance,
    reshardWatch,
    reshardPause,
    reshardResume,
    reshardCancel,
    reshardReverse,
    reshardComplete,
    vdiff,
    nodeList,
    nodeAdd,
    nodeRebuild,
    nodeRemove,
    nodeCreate,
    nodeDelete,
    jobList,
    jobGet,
    tokenCreate,
    tokenList,
    tokenRevoke,
    secretsRotate,
    auditList,
    auditVerify,
    auditExport,
    topologyValidate,
    wait,
    configShow,
    completionCommand(() => table),
  ]
  return table
}
