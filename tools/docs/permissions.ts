// docs/reference/permissions.md from the permissions, the routes of all servers and the commands.
import { PERMISSIONS, ROLES, includesRole, type Permission, type PermissionSpec } from '@fleetshard/core'
import { agentRoutes } from '../../packages/server/src/agent/mod.ts'
import { commandTable } from '../../packages/server/src/cli/mod.ts'
import { managerRoutes } from '../../packages/server/src/control-plane/manager/mod.ts'
import { routerRoutes } from '../../packages/server/src/data-plane/router/mod.ts'
import { code, generatedFrom, page, table } from './markdown.ts'

/** A route as the page shows it. */
interface ShownRoute {
  readonly method: string
  readonly url: string
  readonly permission: Permission
  readonly summary: string
}

const intro = `# Permissions

Every route and every command takes exactly one permission. A token has a role, grants, or both, by its scopes:
\`viewer\`, \`operator\`, \`admin\` for the control plane; \`read:KEYSPACE\`, \`write:KEYSPACE\` (\`*\` for every keyspace) for
rows. An operator may do what a viewer may; an admin may do everything, on rows as well.
[Security](../security.md) tells how tokens are made, and what they do not protect from.`

/** The page. */
export function permissionsPage(): string {
  const specs: readonly (readonly [string, PermissionSpec])[] = Object.entries(PERMISSIONS)
  const mark = (given: boolean): string => (given ? 'yes' : '')
  return page(
    generatedFrom('the routes and commands of packages/server'),
    intro,
    table(
      ['Permission', ...ROLES, 'read grant', 'write grant', 'For'],
      specs.map(([name, { role, grant, doc }]) => [
        code(name),
        ...ROLES.map((one) => mark(name === 'open' || (role !== null && includesRole(one, role)))),
        mark(name === 'open' || grant === 'read'),
        mark(name === 'open' || grant !== null),
        doc,
      ]),
    ),
    '## Manager',
    routesTable(shown(managerRoutes)),
    '## Router',
    routesTable(shown(routerRoutes)),
    statements,
    '## Agent',
    routesTable(shown(agentRoutes)),
    '## Beside these',
    beside,
    '## Commands',
    table(
      ['Command', 'Permission'],
      commandTable({})
        .filter(({ permission }) => permission !== null)
        .map(({ path, permission }) => [code(`fleetshard ${path}`), code(permission ?? '')]),
    ),
  )
}

/** What a route does is not asked for here: nothing of its parts is used. */
const shown = <Parts>(routes: (parts: Parts) => readonly ShownRoute[]): readonly ShownRoute[] =>
  routes({} as Parts)

const routesTable = (routes: readonly ShownRoute[]): string =>
  table(
    ['Route', 'Permission', 'What it does'],
    routes.map(({ method, url, permission, summary }) => [
      code(`${method} ${url}`),
      code(permission),
      summary,
    ]),
  )

const statements = `Which keyspace a statement may be sent to, and whether it may write, follows from the grants. Under a grant to read a
statement that writes, locks rows or runs what cannot be seen through is refused with \`forbidden\`, SQLSTATE 42501, before
anything is sent to a shard. An open transaction belongs to whoever has begun it. Topology shows the keyspaces that the
caller may use; the roles see all.

On the Postgres port the user \`token\` sends a token as password and has its grants; every other user is one of the
databases, and has the rights that the databases give him. The database \`fleetshard\` takes \`view\`.`

const beside = `\`/docs\`, \`/openapi.json\` and \`/\` of every server are open: they describe the program, which is public. \`/metrics\` and
\`/health\` on the metrics ports are open as well, because scrapers and probes have no tokens: they hold numbers, names of
shards and keyspaces, and neither rows nor statements nor secrets. Whoever should not see them is kept away by the
network: the metrics have ports of their own. \`PUT /log-level\` there is for programs on the same machine.`
