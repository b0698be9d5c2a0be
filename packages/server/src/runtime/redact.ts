// Blots secrets out of texts: by what they look like, and by what they are, where that is known. For logs, and for what
// leaves the machine.

/** Stands for what was taken out. */
export const redacted = '[redacted]'

/** What secrets look like; the part that is kept is the first group. */
const PATTERNS: readonly RegExp[] = [
  /-----BEGIN [A-Z ]{0,20}PRIVATE KEY-----[\s\S]{0,20000}?(?:-----END [A-Z ]{0,20}PRIVATE KEY-----|$)/g,
  // The password of a URL.
  /([a-z][a-z0-9+.-]{0,30}:\/\/[^\s:/@"'`\\]{0,200}):[^\s@"'`\\]{1,400}(?=@)/gi,
  // SQL: ALTER ROLE … PASSWORD '…'.
  /(\bpassword\s+)'(?:[^']|''){0,1000}'/gi,
  // key=value, "key": "value", key: value.
  /((?:pass(?:word|wd|phrase)?|pwd|secret|token|api[_-]?key|authorization|cookie)\\?["']?\s{0,4}[=:]\s{0,4}\\?["']?)(?:(?:bearer|basic)\s+)?[^\s"',;&}\\]{1,1000}/gi,
  /\b(bearer\s+)[A-Za-z0-9._~+/=-]{8,}/gi,
  /\beyJ[A-Za-z0-9_-]{6,}\.[A-Za-z0-9_-]{2,}\.[A-Za-z0-9_-]*/g,
  /SCRAM-SHA-256\$[^\s"']+/g,
]

/** Shorter ones are everywhere by chance. */
const secretCharsMin = 6

/** The text without secrets. @param known secrets themselves, in whatever form they are met */
export function redactText(text: string, known: Iterable<string> = []): string {
  let out = text
  for (const secret of known) {
    if (secret.length < secretCharsMin) continue
    for (const form of formsOf(secret)) out = out.replaceAll(form, redacted)
  }
  for (const pattern of PATTERNS)
    out = out.replaceAll(pattern, (_match, kept: unknown) =>
      typeof kept === 'string' ? keptOf(kept) : redacted,
    )
  return out
}

/** A URL's colon was taken with the password. */
const keptOf = (kept: string): string => (kept.includes('://') ? `${kept}:${redacted}` : `${kept}${redacted}`)

/** As it is, in JSON, in a URL, and in base64. */
function formsOf(secret: string): ReadonlySet<string> {
  return new Set([
    secret,
    JSON.stringify(secret).slice(1, -1),
    encodeURIComponent(secret),
    Buffer.from(secret).toString('base64').replace(/=+$/, ''),
  ])
}

/** An error as logs have it: no field but these, since those of drivers hold rows. */
export interface LoggedError {
  readonly type: string
  readonly code?: string
  readonly message: string
  readonly stack?: string
  readonly cause?: LoggedError
}

const causesMax = 4
/** Data exceptions and violated constraints quote what was sent. */
const quotesValues = /^(?:22|23)/

/** What is logged of something thrown. */
export function loggedError(thrown: unknown, depth = 0): LoggedError {
  if (!(thrown instanceof Error))
    return { type: typeof thrown, message: 'something else than an error was thrown' }
  const code = 'code' in thrown && typeof thrown.code === 'string' ? thrown.code : undefined
  const isValued = code !== undefined && quotesValues.test(code) && code.length === 5
  const message = redactText(isValued ? thrown.message.replaceAll(/"[^"]*"/g, '"…"') : thrown.message)
  const frames = thrown.stack?.split('\n').filter((line) => /^\s+at /.test(line)) ?? []
  return {
    type: thrown.name,
    ...(code === undefined ? {} : { code }),
    message,
    ...(frames.length === 0 ? {} : { stack: frames.join('\n') }),
    ...(thrown.cause === undefined || depth >= causesMax
      ? {}
      : { cause: loggedError(thrown.cause, depth + 1) }),
  }
}
