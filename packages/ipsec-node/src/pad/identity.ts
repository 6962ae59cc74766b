/** An identity that a peer may assert (RFC 4301 section 4.4.3.1, RFC 7296 section 3.5). */
export type Identity =
  | { readonly kind: 'dns-name'; readonly name: string }
  | { readonly kind: 'rfc822-name'; readonly mailbox: string }
  | { readonly kind: 'ipv4-address'; readonly address: string }
  | { readonly kind: 'ipv6-address'; readonly address: string }
  | { readonly kind: 'distinguished-name'; readonly der: Uint8Array }
  | { readonly kind: 'key-id'; readonly bytes: Uint8Array };

/**
 * What an identity must be for a PAD entry: one identity exactly, a wildcard, or anybody that the
 * authentication admits. `*.example` matches one or more labels before `.example`; `*@example`
 * any mailbox of that domain; a DN pattern may have `*` for the value of a relative name.
 */
export type IdentityPattern =
  | { readonly kind: 'exact'; readonly identity: Identity }
  | { readonly kind: 'dns-suffix'; readonly suffix: string }
  | { readonly kind: 'mail-domain'; readonly domain: string }
  /** Relative distinguished names in order: attribute type OID, and its value or null for any. */
  | {
      readonly kind: 'dn-pattern';
      readonly names: readonly { readonly oid: string; readonly value: string | null }[];
    }
  | { readonly kind: 'any' };
