// The port by which secrets of the catalog are sealed: what is stored can be read by nobody who has the catalog alone.
// What seals them is the affair of whoever opens the catalog.

/** A sealed value as it is stored; the texts are base64. */
export interface SealedValue {
  /** Id of the key that the data key is wrapped with. */
  readonly key: string
  /** The value's own data key, wrapped. */
  readonly dataKey: string
  /** The value, encrypted by its data key. */
  readonly data: string
}

/** Seals values. A sealed value belongs to the name that it was sealed for. */
export interface SecretSealer {
  /** @throws FleetError `secret_unavailable` when the keys cannot be had */
  seal(name: string, value: string, signal?: AbortSignal): Promise<SealedValue>
  /** @throws FleetError `secret_unavailable` for a key that is not at hand, and values that were tampered with */
  open(name: string, sealed: SealedValue, signal?: AbortSignal): Promise<string>
  /** Id of the key that values are sealed with now. @throws FleetError `secret_unavailable` */
  currentKey(signal?: AbortSignal): Promise<string>
}
