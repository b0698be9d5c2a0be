// A private authority: makes its certificate, and those that it signs. For `fleetshard certs` and for tests. The keys
// are in PEM without a passphrase; whoever stores them sees to it that nobody else reads them.
import type { webcrypto } from 'node:crypto'
import { isIP } from 'node:net'
// What the library for X.509 is built on wants it first.
import 'reflect-metadata'
import {
  AuthorityKeyIdentifierExtension,
  BasicConstraintsExtension,
  ExtendedKeyUsage,
  ExtendedKeyUsageExtension,
  KeyUsageFlags,
  KeyUsagesExtension,
  PemConverter,
  SubjectAlternativeNameExtension,
  SubjectKeyIdentifierExtension,
  X509Certificate,
  X509CertificateGenerator,
} from '@peculiar/x509'

/** A certificate with its key, in PEM. */
export interface KeyPairPem {
  readonly certificate: string
  /** PKCS #8. */
  readonly key: string
}

/** Whom a certificate is for. */
export interface Subject {
  /** Its common name. */
  readonly name: string
  /** Names and addresses by which others reach it. */
  readonly hosts: readonly string[]
}

/** From when to when it is valid, milliseconds since 1970. */
export interface Validity {
  readonly fromMs: number
  readonly untilMs: number
}

const algorithm = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' } as const
const authorityName = 'FleetShard CA'

/** An authority of one's own; it signs no further authorities. */
export async function makeAuthority(validity: Validity): Promise<KeyPairPem> {
  const keys = await makeKeys()
  const certificate = await X509CertificateGenerator.createSelfSigned({
    ...datesOf(validity),
    name: `CN=${authorityName}`,
    keys,
    signingAlgorithm: algorithm,
    extensions: [
      new BasicConstraintsExtension(true, 0, true),
      new KeyUsagesExtension(KeyUsageFlags.keyCertSign | KeyUsageFlags.cRLSign, true),
      await SubjectKeyIdentifierExtension.create(keys.publicKey),
    ],
  })
  return { certificate: pemOf(certificate), key: await keyPem(keys.privateKey) }
}

/**
 * A certificate by which its owner is known as a server and as a client.
 * @throws Error when the authority's texts are none
 */
export async function signCertificate(
  authority: KeyPairPem,
  subject: Subject,
  validity: Validity,
): Promise<KeyPairPem> {
  const issuer = new X509Certificate(authority.certificate)
  const signingKey = await importKey(authority.key)
  const keys = await makeKeys()
  const certificate = await X509CertificateGenerator.create({
    ...datesOf(validity),
    subject: [{ CN: [subject.name] }],
    issuer: issuer.subject,
    publicKey: keys.publicKey,
    signingKey,
    signingAlgorithm: algorithm,
    extensions: [
      new BasicConstraintsExtension(false, undefined, true),
      new KeyUsagesExtension(KeyUsageFlags.digitalSignature, true),
      new ExtendedKeyUsageExtension([ExtendedKeyUsage.serverAuth, ExtendedKeyUsage.clientAuth]),
      new SubjectAlternativeNameExtension(
        subject.hosts.map((value) => ({ type: isIP(value) === 0 ? 'dns' : 'ip', value })),
      ),
      await SubjectKeyIdentifierExtension.create(keys.publicKey),
      await AuthorityKeyIdentifierExtension.create(issuer.publicKey),
    ],
  })
  return { certificate: pemOf(certificate), key: await keyPem(keys.privateKey) }
}

function makeKeys(): Promise<webcrypto.CryptoKeyPair> {
  return crypto.subtle.generateKey(algorithm, true, ['sign', 'verify'])
}

function importKey(pem: string): Promise<webcrypto.CryptoKey> {
  const [der] = PemConverter.decode(pem)
  if (der === undefined) throw new Error('the key of the authority is no PEM')
  return crypto.subtle.importKey('pkcs8', der, algorithm, false, ['sign'])
}

async function keyPem(key: webcrypto.CryptoKey): Promise<string> {
  return `${PemConverter.encode(await crypto.subtle.exportKey('pkcs8', key), 'PRIVATE KEY')}\n`
}

const pemOf = (certificate: X509Certificate): string => `${certificate.toString('pem')}\n`

const datesOf = ({ fromMs, untilMs }: Validity): { readonly notBefore: Date; readonly notAfter: Date } => ({
  notBefore: new Date(fromMs),
  notAfter: new Date(untilMs),
})
