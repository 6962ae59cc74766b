/**
 * What the contract of the configuration names and this version does not have. Each is refused by
 * name, never ignored. A row leaves this file in the change that builds it.
 */

/** Keys by section. */
export const LATER_KEYS = {
  '': ['peers', 'pools', 'authorities'],
  gateway: ['http', 'workers'],
  policies: ['peer', 'lifetime', 'start', 'dscp', 'ecn', 'fragments'],
  associations: ['lifetime', 'protocol', 'mode', 'localPort'],
} as const satisfies Readonly<Record<string, readonly string[]>>;

/** Values by key. */
export const LATER_VALUES = {
  dataplane: ['kernel'],
  mode: ['transport', 'beet'],
  port: ['opaque'],
  suite: [
    'aes192gcm16',
    'aes128gcm12',
    'aes256gcm12',
    'aes128gcm8',
    'aes256gcm8',
    'aes128ccm16',
    'aes256ccm16',
    'aes128',
    'aes192',
    'aes256',
    'aes128ctr',
    'aes256ctr',
    'aes128-sha256',
    'aes256-sha256',
    'aes256-sha384',
    'aes256-sha512',
    'aes128-sha1',
    'aes256-sha1',
    'aes128gmac',
    'aes256gmac',
    'null',
    'null-sha256',
    '3des',
    '3des-sha1',
    '3des-md5',
    'des',
    'camellia128',
    'camellia256',
    'blowfish128',
    'cast128',
  ],
} as const satisfies Readonly<Record<string, readonly string[]>>;

/** Whether a suite is named by a proposal keyword that this version does not have. */
export function isLaterSuite(name: string): boolean {
  const known: readonly string[] = LATER_VALUES.suite;
  // strongSwan's proposal keywords join transforms with dashes; any of those is a proposal too.
  return known.includes(name) || known.some((suite) => name.startsWith(`${suite}-`));
}
