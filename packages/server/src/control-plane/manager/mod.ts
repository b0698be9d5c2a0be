// Face of the manager.
export { managerRoutes } from './api/routes.ts'
export type { SignInSetting } from './deps.ts'
export { createManager } from './manager.ts'
