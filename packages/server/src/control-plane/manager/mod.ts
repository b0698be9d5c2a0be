// Face of the manager.
export { managerRoutes } from './api/routes.ts'
export { createManager } from './manager.ts'
