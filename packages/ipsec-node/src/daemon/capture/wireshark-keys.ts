/**
 * Wireshark's tables of keys. pcapng has no block for the keys of IKEv2 or ESP (its Decryption
 * Secrets Blocks are for TLS, SSH, WireGuard and ZigBee), so they stand in files of their own: a
 * folder that Wireshark takes as its configuration.
 */
import type { IkeKeyReport } from '../../ike/action.js';
import type { EspKeyReport } from './capture-keys.js';

/** A file of the folder. */
export interface KeyFile {
  readonly name: string;
  readonly text: string;
}

/** What was written, and what Wireshark has no name for. */
export interface KeyFolder {
  readonly files: readonly KeyFile[];
  /** One sentence each. */
  readonly left: readonly string[];
}

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex');
const spiHex = (spi: bigint): string => spi.toString(16).padStart(16, '0');

/** Wireshark's names for IKEv2, by our keywords. */
const IKE_ENCRYPTION: Readonly<Record<string, string>> = {
  aes128: 'AES-CBC-128 [RFC3602]',
  aes192: 'AES-CBC-192 [RFC3602]',
  aes256: 'AES-CBC-256 [RFC3602]',
  aes128gcm16: 'AES-GCM-128 with 16 octet ICV [RFC5282]',
  aes256gcm16: 'AES-GCM-256 with 16 octet ICV [RFC5282]',
};
const IKE_INTEGRITY: Readonly<Record<string, string>> = {
  '': 'NONE [RFC4306]',
  none: 'NONE [RFC4306]',
  sha1: 'HMAC_SHA1_96 [RFC2404]',
  sha256: 'HMAC_SHA2_256_128 [RFC4868]',
  sha384: 'HMAC_SHA2_384_192 [RFC4868]',
  sha512: 'HMAC_SHA2_512_256 [RFC4868]',
  aesxcbc: 'ANY 96-bits of Authentication [No Checking]',
  aescmac: 'ANY 96-bits of Authentication [No Checking]',
};

const ESP_GCM = 'AES-GCM with 16 octet ICV [RFC4106]';
const ESP_CBC = 'AES-CBC [RFC3602]';
const ESP_AUTHENTICATION: Readonly<Record<string, string>> = {
  sha1: 'HMAC-SHA-1-96 [RFC2404]',
  sha256: 'HMAC-SHA-256-128 [RFC4868]',
  sha384: 'HMAC-SHA-384-192 [RFC4868]',
  sha512: 'HMAC-SHA-512-256 [RFC4868]',
  aesxcbc: 'ANY 96 bit authentication [no checking]',
  aescmac: 'ANY 96 bit authentication [no checking]',
};

interface EspAlgorithms {
  readonly encryption: string;
  readonly encryptionKey: Uint8Array;
  readonly authentication: string;
  readonly authenticationKey: Uint8Array | null;
}

/** How Wireshark names the parts of a suite such as `aes256gcm16` or `aes256-sha256`. */
function espAlgorithms({ suite, key }: EspKeyReport): EspAlgorithms | null {
  if (/^aes(128|256)gcm16$/.test(suite)) {
    return {
      encryption: ESP_GCM,
      encryptionKey: key,
      authentication: 'NULL',
      authenticationKey: null,
    };
  }
  const match = /^aes(128|192|256)-(\w+)$/.exec(suite);
  const authentication = ESP_AUTHENTICATION[match?.[2] ?? ''];
  if (match === null || authentication === undefined) return null;
  // RFC 7296 section 2.17: the cipher's key comes first.
  const cipherKeyLen = Number(match[1]) / 8;
  return {
    encryption: ESP_CBC,
    encryptionKey: key.subarray(0, cipherKeyLen),
    authentication,
    authenticationKey: key.subarray(cipherKeyLen),
  };
}

/** A line of `esp_sa`. */
export function espLine(report: EspKeyReport): string | null {
  const algorithms = espAlgorithms(report);
  if (algorithms === null) return null;
  const fields = [
    report.source.includes(':') ? 'IPv6' : 'IPv4',
    report.source,
    report.destination,
    `0x${report.spi.toString(16).padStart(8, '0')}`,
    algorithms.encryption,
    `0x${hex(algorithms.encryptionKey)}`,
    algorithms.authentication,
    algorithms.authenticationKey === null ? '' : `0x${hex(algorithms.authenticationKey)}`,
    // Versions before 4.2 have no extended numbers: they leave these out, open the packets all the
    // same and call the ICV bad.
    ...(report.esn ? ['64-bit', '0x00000000'] : []),
  ];
  return fields.map((field) => `"${field}"`).join(',');
}

/** A line of `ikev2_decryption_table`. */
export function ikeLine(report: IkeKeyReport): string | null {
  const encryption = IKE_ENCRYPTION[report.encryption];
  const integrity = IKE_INTEGRITY[report.integrity];
  if (encryption === undefined || integrity === undefined) return null;
  // What it does not check may have no key: the table ends where one stands there.
  const keyText = (key: Uint8Array): string => (integrity.startsWith('ANY ') ? '' : hex(key));
  return [
    spiHex(report.spiInitiator),
    spiHex(report.spiResponder),
    hex(report.skEi),
    hex(report.skEr),
    `"${encryption}"`,
    keyText(report.skAi),
    keyText(report.skAr),
    `"${integrity}"`,
  ].join(',');
}

const PREFERENCES = `esp.enable_encryption_decode: TRUE
esp.enable_authentication_check: TRUE
`;

/** The files of the folder. Their text holds keys: they are for their owner alone. */
export function keyFolder(
  ikeSas: readonly IkeKeyReport[],
  espSas: readonly EspKeyReport[],
): KeyFolder {
  const left: string[] = [];
  const lines = <T>(
    items: readonly T[],
    line: (item: T) => string | null,
    name: (item: T) => string,
  ) =>
    items.flatMap((item) => {
      const text = line(item);
      if (text !== null) return [`${text}\n`];
      left.push(name(item));
      return [];
    });
  const ike = lines(
    ikeSas,
    ikeLine,
    ({ spiInitiator, encryption }) =>
      `IKE SA ${spiHex(spiInitiator)}: Wireshark cannot open ${encryption}`,
  );
  const esp = lines(
    espSas,
    espLine,
    ({ spi, suite }) => `ESP SA 0x${spi.toString(16)}: Wireshark cannot open ${suite}`,
  );
  return {
    files: [
      { name: 'ikev2_decryption_table', text: ike.join('') },
      { name: 'esp_sa', text: esp.join('') },
      { name: 'preferences', text: PREFERENCES },
    ],
    left,
  };
}
