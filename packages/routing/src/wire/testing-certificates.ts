// Throw-away certificates for tests of TLS, made in memory: a certificate is a small DER structure with a signature.
import { createHash, generateKeyPairSync, sign, type KeyObject } from 'node:crypto'

/** PEM texts of an authority and of a server certificate that it signed. */
export interface TestCertificates {
  readonly ca: string
  readonly certificate: string
  readonly key: string
}

/** An authority and a server certificate for the name `localhost` and the address 127.0.0.1. */
export function testCertificates(): TestCertificates {
  const authority = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const server = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const ca = certificate('Test CA', authority.publicKey, authority.privateKey, authorityExtensions())
  return {
    ca,
    certificate: certificate('localhost', server.publicKey, authority.privateKey, serverExtensions()),
    key: server.privateKey.export({ type: 'pkcs8', format: 'pem' }).toString(),
  }
}

function certificate(name: string, publicKey: KeyObject, signer: KeyObject, extensions: Buffer): string {
  const algorithm = sequence(oid('2a8648ce3d040302'))
  const serial = createHash('sha256').update(name).digest().subarray(0, 8)
  serial[0] = 1
  const body = sequence(
    der(0xa0, der(0x02, Buffer.from([2]))),
    der(0x02, serial),
    algorithm,
    distinguishedName('Test CA'),
    sequence(der(0x18, Buffer.from('20200101000000Z')), der(0x18, Buffer.from('21200101000000Z'))),
    distinguishedName(name),
    publicKey.export({ type: 'spki', format: 'der' }),
    der(0xa3, extensions),
  )
  const signature = der(0x03, Buffer.concat([Buffer.from([0]), sign('sha256', body, signer)]))
  const lines = sequence(body, algorithm, signature).toString('base64').replace(/.{64}/g, '$&\n')
  return `-----BEGIN CERTIFICATE-----\n${lines}\n-----END CERTIFICATE-----\n`
}

/** basicConstraints: an authority. */
function authorityExtensions(): Buffer {
  const constraints = sequence(der(0x01, Buffer.from([0xff])))
  return sequence(sequence(oid('551d13'), der(0x01, Buffer.from([0xff])), der(0x04, constraints)))
}

/** subjectAltName: localhost and 127.0.0.1. */
function serverExtensions(): Buffer {
  const names = sequence(der(0x82, Buffer.from('localhost')), der(0x87, Buffer.from([127, 0, 0, 1])))
  return sequence(sequence(oid('551d11'), der(0x04, names)))
}

function distinguishedName(commonName: string): Buffer {
  return sequence(der(0x31, sequence(oid('550403'), der(0x0c, Buffer.from(commonName)))))
}

function oid(hex: string): Buffer {
  return der(0x06, Buffer.from(hex, 'hex'))
}

function sequence(...parts: readonly Buffer[]): Buffer {
  return der(0x30, Buffer.concat(parts))
}

function der(tag: number, content: Buffer): Buffer {
  const size = content.length
  const length = size < 0x80 ? [size] : size < 0x100 ? [0x81, size] : [0x82, size >> 8, size & 0xff]
  return Buffer.concat([Buffer.from([tag, ...length]), content])
}
