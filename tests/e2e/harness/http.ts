// HTTP as a user would speak it: plain fetch, JSON in and out.

/** What every refusal has. */
export interface Problem {
  readonly code: string
  readonly detail: string
  readonly hint?: string
  readonly retryable: boolean
  readonly sqlstate?: string
  readonly position?: number
  readonly shard_id?: string
}

/** What /v1/execute answers. */
export interface Executed {
  readonly shard_id: string
  readonly rows: readonly Readonly<Record<string, unknown>>[]
  readonly row_count: number
  readonly node: string
  readonly epoch: number
  readonly replayed: boolean
}

/** An answer with its parsed body, which is what the caller expects it to be, or a problem. */
export interface Answer<T> {
  readonly status: number
  readonly headers: Headers
  readonly body: T & Problem
}

/** Sends a request; `body` goes as JSON, a string as it is. */
export async function send<T = unknown>(
  method: string,
  url: string,
  body?: unknown,
  headers: Readonly<Record<string, string>> = {},
): Promise<Answer<T>> {
  const response = await fetch(url, {
    method,
    headers: { ...(body === undefined ? {} : { 'content-type': 'application/json' }), ...headers },
    ...(body === undefined ? {} : { body: typeof body === 'string' ? body : JSON.stringify(body) }),
  })
  const text = await response.text()
  return { status: response.status, headers: response.headers, body: parse(text) as T & Problem }
}

/** The text of an answer that is no JSON. */
export async function readText(url: string): Promise<string> {
  return (await fetch(url)).text()
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return text
  }
}
