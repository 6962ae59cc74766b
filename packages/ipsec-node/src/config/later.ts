/**
 * What the contract of the configuration names and this version does not have. Each is refused by
 * name, never ignored. A row leaves this file in the change that builds it.
 */

/** Keys by section. */
export const LATER_KEYS = {
  '': ['pools', 'authorities'],
  gateway: ['http', 'workers'],
  peers: ['interface', 'pool', 'reauth'],
  policies: ['dscp', 'ecn', 'fragments'],
  associations: ['lifetime', 'protocol', 'mode', 'localPort'],
} as const satisfies Readonly<Record<string, readonly string[]>>;

/** Values by key. */
export const LATER_VALUES = {
  dataplane: ['kernel'],
  mode: ['beet'],
  port: ['opaque'],
  auth: ['eap', 'null'],
  /** Keywords of proposals. */
  algorithm: [
    'aes192gcm16',
    'aes192gcm',
    'aes128gcm12',
    'aes192gcm12',
    'aes256gcm12',
    'aes128gcm8',
    'aes192gcm8',
    'aes256gcm8',
    'aes128ccm16',
    'aes192ccm16',
    'aes256ccm16',
    'aes128ccm12',
    'aes192ccm12',
    'aes256ccm12',
    'aes128ccm8',
    'aes192ccm8',
    'aes256ccm8',
    'aes128ctr',
    'aes192ctr',
    'aes256ctr',
    'aes128gmac',
    'aes192gmac',
    'aes256gmac',
    'null',
    'camellia128',
    'camellia192',
    'camellia256',
    'camellia128ctr',
    'camellia192ctr',
    'camellia256ctr',
    'ecp192',
    'ecp224',
    'ecp224bp',
    'ecp256bp',
    'ecp384bp',
    'ecp512bp',
    'mlkem512',
  ],
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
