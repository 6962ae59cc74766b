/** An identity that a peer may assert (RFC 4301 section 4.4.3.1, RFC 7296 section 3.5). */
export type Identity =
  | { readonly kind: 'dns-name'; readonly name: string }
  | { readonly kind: 'rfc822-name'; readonly mailbox: string }
  | { readonly kind: 'ipv4-address'; readonly address: string }
  | { readonly kind: 'ipv6-address'; readonly address: string }
  | { readonly kind: 'distinguished-name'; readonly der: Uint8Array }
  | { readonly kind: 'key-id'; readonly bytes: Uint8Array };
