// What the client uses and Node 20 lacks; the build puts it in the place of the built-in.

/** `Promise.withResolvers`. */
export function withResolvers<T>(): PromiseWithResolvers<T> {
  let resolve: PromiseWithResolvers<T>['resolve'] | null = null
  let reject: PromiseWithResolvers<T>['reject'] | null = null
  const promise = new Promise<T>((onResolve, onReject) => {
    resolve = onResolve
    reject = onReject
  })
  if (resolve === null || reject === null) throw new Error('a promise calls its function at once')
  return { promise, resolve, reject }
}
