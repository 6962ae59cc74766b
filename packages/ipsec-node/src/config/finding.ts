import { type ConfigDocument, type ConfigPath, formatPath, type Position } from './document.js';

/** How much a finding of `check` weighs: a warning should be acted on, a note be known. */
export type FindingSeverity = 'warning' | 'note';

/** The kinds of findings. docs/manual/configuration.md explains each. */
export const FINDING_CODES = [
  'shadowed-policy',
  'overlap',
  'exception',
  'unmatchable-policy',
  'reply-refused',
  'no-association',
  'manual-keys',
  'sequence-exhaustion',
  'replay-window-small',
  'replay-window-unused',
  'inline-key',
  'exposed-key-file',
  'unread-key',
  'weak-key',
  'not-listening',
  'padding-above-mtu',
  'mtu-below-ipv6',
  'builtin-off',
  'only-protect',
  'weak-psk',
  'psk-for-anybody',
  'legacy-algorithm',
  'weaker-ike',
  'late-group',
  'no-pfs',
  'unused-peer',
  'shadowed-peer',
  'never-started',
  'transport-selector',
  'foreign-identity',
  'not-an-authority',
  'expired-certificate',
  'too-complex',
] as const;
export type FindingCode = (typeof FINDING_CODES)[number];

/** Something legal and unwise. */
export interface ConfigFinding extends Position {
  readonly severity: FindingSeverity;
  readonly code: FindingCode;
  readonly file: string;
  readonly path: string;
  /** Sentences: what, which packet, what to write instead. */
  readonly message: string;
  /** A packet that shows it, in the form that `explain` reads. */
  readonly packet?: string;
}

/** Writes a finding in one line. */
export function formatFinding(finding: ConfigFinding): string {
  const place =
    finding.line === 0 ? finding.file : `${finding.file}:${finding.line}:${finding.column}`;
  const subject = finding.path === '' ? '' : `${finding.path}: `;
  return `${place}: ${finding.severity}: ${subject}${finding.message} [${finding.code}]`;
}

/** Collects findings and looks up where they stand. */
export class Findings {
  readonly #document: ConfigDocument;
  readonly #findings: ConfigFinding[] = [];

  constructor(document: ConfigDocument) {
    this.#document = document;
  }

  add(
    severity: FindingSeverity,
    code: FindingCode,
    path: ConfigPath,
    message: string,
    packet?: string,
  ): void {
    const { line, column } = this.#document.position(path, 'value');
    const base = {
      severity,
      code,
      file: this.#document.file,
      line,
      column,
      path: formatPath(path),
    };
    this.#findings.push(packet === undefined ? { ...base, message } : { ...base, message, packet });
  }

  /** In the order of the file. */
  list(): readonly ConfigFinding[] {
    return this.#findings.toSorted((a, b) => a.line - b.line || a.column - b.column);
  }
}
