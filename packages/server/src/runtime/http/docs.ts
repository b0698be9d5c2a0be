// The OpenAPI document of an HTTP server and the pages that show it. Few processes are ever asked for them, so that
// their packages are loaded, and the document is made, when somebody does: by a server of its own that never listens.
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import type { Door } from './gate.ts'
import type { Route } from './route.ts'

/** What the docs tell of. */
export interface DocsParts {
  readonly title: string
  readonly version: string
  readonly description: string
  readonly routes: readonly Route[]
  readonly door: Door
  /** The error of a page that is not there. */
  readonly notFound: (request: FastifyRequest) => Error
}

const path = '/docs'
/** Headers of the connection, which is the outer server's, and of its own making. */
const ownHeaders = new Set(['connection', 'keep-alive', 'date', 'transfer-encoding'])

/** Puts `/docs`, `/openapi.json`, and the way from `/` to them, on the server. */
export function registerDocs(app: FastifyInstance, parts: DocsParts): void {
  let made: Promise<FastifyInstance> | null = null
  const docs = async (): Promise<FastifyInstance> => {
    made ??= createDocs(parts)
    try {
      return await made
    } catch (error) {
      made = null
      throw error
    }
  }
  const page = async (request: FastifyRequest, reply: FastifyReply): Promise<FastifyReply> => {
    const { url, headers } = request
    const answer = await (await docs()).inject({ method: 'GET', url, headers })
    if (answer.statusCode >= 400) throw parts.notFound(request)
    for (const [name, value] of Object.entries(answer.headers)) {
      if (value !== undefined && !ownHeaders.has(name)) void reply.header(name, value)
    }
    return reply.code(answer.statusCode).send(answer.rawPayload)
  }
  const schema = { hide: true }
  app.get(path, { schema }, page)
  app.get(`${path}/*`, { schema }, page)
  // Whoever opens the address in a browser finds the docs.
  app.get('/', { schema }, (_request, reply) => reply.redirect(path))
  app.get('/openapi.json', { schema }, async (_request, reply) =>
    reply.type('application/json; charset=utf-8').send(JSON.stringify((await docs()).swagger())),
  )
  app.addHook('onClose', async () => (await made?.catch(() => null))?.close())
}

/** Knows the routes for the sake of the document only: nobody comes to them this way. */
async function createDocs({
  title,
  version,
  description,
  routes,
  door,
}: DocsParts): Promise<FastifyInstance> {
  const [{ fastify }, { default: swagger }, { default: swaggerUi }] = await Promise.all([
    import('fastify'),
    import('@fastify/swagger'),
    import('@fastify/swagger-ui'),
  ])
  const app: FastifyInstance = fastify({ routerOptions: { maxParamLength: 1024, ignoreTrailingSlash: true } })
  app.setValidatorCompiler(() => () => true)
  app.setSerializerCompiler(() => (body) => JSON.stringify(body))
  await app.register(swagger, {
    openapi: {
      openapi: '3.1.0',
      info: { title, version, description },
      components: { securitySchemes: { token: { type: 'http', scheme: 'bearer' } } },
    },
  })
  await app.register(swaggerUi, {
    routePrefix: path,
    uiConfig: { docExpansion: 'list' },
    // The bar at the top asks for the address of another document, and shows the mark of another project.
    theme: { title, css: [{ filename: 'page.css', content: '.swagger-ui .topbar { display: none }' }] },
  })
  for (const route of routes) route.register(app, nobody, door)
  await app.ready()
  return app
}

const nobody = (): Promise<null> => Promise.resolve(null)
