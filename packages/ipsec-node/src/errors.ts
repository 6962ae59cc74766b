/**
 * The errors of control operations. A refused packet is never an error: it is a drop reason with a
 * counter.
 *
 * Every error has a stable `code` of {@link ERROR_CODES}, which docs/errors.md explains, and carries
 * its data in fields; the message is for people and may change.
 */

/** Who has to act on an error. */
export type ErrorKind = 'config' | 'usage' | 'peer' | 'resource' | 'internal';

interface ErrorCodeEntry {
  readonly kind: ErrorKind;
  /** One sentence: what it means. */
  readonly meaning: string;
  /** One sentence: what to do next. */
  readonly remedy: string;
}

/** The one table of codes. docs/errors.md holds the same rows; a unit test compares both ways. */
export const ERROR_CODES = {
  IPSEC_ERR_CONFIG_UNREADABLE: {
    kind: 'config',
    meaning: 'The configuration file cannot be read.',
    remedy: 'Check the path and the permissions named in the error.',
  },
  IPSEC_ERR_CONFIG_SYNTAX: {
    kind: 'config',
    meaning: 'The configuration file is not well-formed YAML.',
    remedy: 'Correct the lines that are named.',
  },
  IPSEC_ERR_CONFIG_INVALID: {
    kind: 'config',
    meaning: 'The configuration holds one or more faults; nothing was started or changed.',
    remedy: 'Correct each line; each says what is accepted.',
  },
  IPSEC_ERR_ADDRESS_SYNTAX: {
    kind: 'usage',
    meaning: 'A text is not an IP address, prefix, address range or endpoint.',
    remedy: 'Write the address in one of the accepted forms.',
  },
  IPSEC_ERR_PORT_SYNTAX: {
    kind: 'usage',
    meaning: 'A text is not a port or a range of ports.',
    remedy: 'Write 0..65535, or a range such as 8000-8099.',
  },
  IPSEC_ERR_PROTOCOL_UNKNOWN: {
    kind: 'usage',
    meaning: 'A next layer protocol has neither a known name nor a number of 0..255.',
    remedy: 'Use a name of the manual or the IANA number.',
  },
  IPSEC_ERR_EXPLAIN_SYNTAX: {
    kind: 'usage',
    meaning: 'The packet to explain is not written as direction, protocol, source, destination.',
    remedy: 'Write for example `out tcp 10.1.0.5:40000 203.0.113.7:443`.',
  },
  IPSEC_ERR_USAGE: {
    kind: 'usage',
    meaning: 'A call or command was made with arguments that it does not accept.',
    remedy: "Read the message, then the command's `--help` or the doc comment of the function.",
  },
  IPSEC_ERR_CLOSED: {
    kind: 'usage',
    meaning: 'The object was used after it was closed.',
    remedy: 'Open a new one.',
  },
  IPSEC_ERR_SA_EXISTS: {
    kind: 'usage',
    meaning: 'An SA with this direction and SPI is already installed.',
    remedy: 'Delete the old SA first or choose another SPI.',
  },
  IPSEC_ERR_SA_UNKNOWN: {
    kind: 'usage',
    meaning: 'No SA with this direction and SPI is installed.',
    remedy: 'List the SAs with `ipsec-node sas`.',
  },
  IPSEC_ERR_SA_INVALID: {
    kind: 'usage',
    meaning: 'The parameters of an SA contradict each other or are out of range.',
    remedy: 'Correct the field named in the error.',
  },
  IPSEC_ERR_SPD_ENTRY_UNKNOWN: {
    kind: 'usage',
    meaning: 'An SA names an SPD entry that is not in the SPD.',
    remedy: 'Replace the SPD before adding the SA.',
  },
  IPSEC_ERR_SPD_INVALID: {
    kind: 'usage',
    meaning: 'An SPD entry has a selector that cannot be compiled.',
    remedy: 'Correct the entry named in the error.',
  },
  IPSEC_ERR_PEER_PROTOCOL: {
    kind: 'peer',
    meaning: 'A peer sent a message that the protocol does not allow.',
    remedy: 'See the log of the peer; `notify` is what it was told, if anything.',
  },
  IPSEC_ERR_EXCHANGE_FAILED: {
    kind: 'peer',
    meaning: 'What was asked of a peer did not come about.',
    remedy: 'Read the reason; `ipsec-node status` lists the last refusals with what differs.',
  },
  IPSEC_ERR_PRIVILEGE_MISSING: {
    kind: 'resource',
    meaning: 'The process lacks a privilege that the operation needs.',
    remedy: 'Grant what the error names, or run `ipsec-node doctor`.',
  },
  IPSEC_ERR_DEVICE_UNAVAILABLE: {
    kind: 'resource',
    meaning: 'A device or network interface is missing, busy or of the wrong kind.',
    remedy: 'Run `ipsec-node doctor`; it names the remedy.',
  },
  IPSEC_ERR_ADDRESS_IN_USE: {
    kind: 'resource',
    meaning: 'An address and port to listen on is taken by another program.',
    remedy:
      '`ipsec-node doctor` names the other program: stop it, or choose another port in `gateway`.',
  },
  IPSEC_ERR_STATE_UNWRITABLE: {
    kind: 'resource',
    meaning: 'The state directory cannot be written, so manually keyed SAs are refused.',
    remedy: 'Make the directory named in the error writable for the gateway.',
  },
  IPSEC_ERR_STATE_CORRUPT: {
    kind: 'resource',
    meaning: 'A state file is damaged, so the sequence numbers already used are not known.',
    remedy: 'Replace the keys of the SA and remove the state file.',
  },
  IPSEC_ERR_CONTROL_UNREACHABLE: {
    kind: 'resource',
    meaning: 'No gateway answers on the control socket.',
    remedy: 'Start it with `ipsec-node up`, or name its socket.',
  },
  IPSEC_ERR_NATIVE_UNAVAILABLE: {
    kind: 'resource',
    meaning: 'The native datapath cannot be loaded on this platform.',
    remedy: 'Build it with `npm run build:native`, or install the package for this platform.',
  },
  IPSEC_ERR_HOST: {
    kind: 'resource',
    meaning: 'The operating system refused a request.',
    remedy: 'The cause holds what it answered.',
  },
  IPSEC_ERR_INTERNAL: {
    kind: 'internal',
    meaning: 'The product contradicts itself; this is a defect.',
    remedy: 'Report it with the code, the fields and the stack.',
  },
} as const satisfies Readonly<Record<string, ErrorCodeEntry>>;

/** A stable error code. */
export type ErrorCode = keyof typeof ERROR_CODES;

/** Data of an error. Never key material. */
export type ErrorFields = Readonly<Record<string, string | number | boolean | bigint | null>>;

export interface ErrorOptions {
  readonly cause?: unknown;
  readonly fields?: ErrorFields;
}

/** The root of all errors that the product throws. */
export class IpsecError extends Error {
  readonly code: ErrorCode;
  readonly fields: ErrorFields;

  constructor(code: ErrorCode, message: string, options: ErrorOptions = {}) {
    super(message, 'cause' in options ? { cause: options.cause } : undefined);
    this.name = new.target.name;
    this.code = code;
    this.fields = options.fields ?? {};
  }

  /** Code, message and fields; neither stack nor cause. */
  toJSON(): Readonly<Record<string, unknown>> {
    const fields = Object.fromEntries(
      Object.entries(this.fields).map(([key, value]) => [
        key,
        typeof value === 'bigint' ? value.toString() : value,
      ]),
    );
    return { code: this.code, message: this.message, fields };
  }
}

/** One fault of a configuration: where, what was found, what is accepted. */
export interface ConfigFault {
  /** The file as it was named; `<config>` for a configuration given as an object. */
  readonly file: string;
  /** One-based; 0 where there is no text to point into. */
  readonly line: number;
  readonly column: number;
  /** Such as `policies[1].remote[0]`; empty for the whole file. */
  readonly path: string;
  readonly found: string;
  readonly accepted: string;
  /** The known name nearest to the one found, or the value that was probably meant. */
  readonly nearest?: string;
  /** The whole fault in one line, position and path included. Never key material. */
  readonly message: string;
}

/** The operator's to correct. Holds all faults at once. */
export class ConfigError extends IpsecError {
  readonly faults: readonly ConfigFault[];

  constructor(
    code: ErrorCode,
    message: string,
    faults: readonly ConfigFault[],
    options: ErrorOptions = {},
  ) {
    super(code, message, options);
    this.faults = faults;
  }

  override toJSON(): Readonly<Record<string, unknown>> {
    return { ...super.toJSON(), faults: this.faults };
  }
}

/** The caller's to correct: wrong arguments or wrong order of calls. */
export class UsageError extends IpsecError {}

/** The peer's doing. `notify` is what it is told (RFC 7296 section 3.10.1); null: nothing. */
export class PeerError extends IpsecError {
  readonly notify: number | null;

  constructor(code: ErrorCode, message: string, notify: number | null, options: ErrorOptions = {}) {
    super(code, message, options);
    this.notify = notify;
  }
}

/** The host's: a privilege, device, file or address is missing. */
export class ResourceError extends IpsecError {}

/** Ours: a defect. */
export class InternalError extends IpsecError {}
