/** One check of the product after the other taken away, and what the demo has to notice. */

export interface Mutation {
  /** Which check is gone. */
  readonly name: string;
  readonly edits: readonly Edit[];
  /** How many lines of the demo fail, by subject: these and no others. */
  readonly fails: Readonly<Record<string, number>>;
}

export interface Edit {
  /** From the root of the repository: in the crates, or in what TypeScript was compiled to. */
  readonly file: string;
  /** Stands there exactly once. */
  readonly text: string;
  readonly becomes: string;
}

const INBOUND = 'crates/ipsec-datapath/src/inbound.rs';
const WINDOW = 'crates/ipsec-datapath/src/replay_window.rs';
const AEAD = 'crates/ipsec-datapath/src/suite/aead.rs';
const RULESET = 'crates/ipsec-host/src/ruleset/compile.rs';

const SEEN_BEFORE_OPENING: Edit = {
  file: WINDOW,
  text: 'if self.seen(number) {\n            Err(Refused::Duplicate)',
  becomes: 'if false {\n            Err(Refused::Duplicate)',
};

export const MUTATIONS: readonly Mutation[] = [
  {
    name: 'encryption: authenticated, and sent as it is',
    edits: [
      {
        file: AEAD,
        text: '.seal_in_place_separate_tag(self.nonce(iv), Aad::from(aad), plaintext)',
        becomes:
          '.seal_in_place_separate_tag(self.nonce(iv), Aad::from(aad), &mut plaintext.to_vec())',
      },
      {
        file: AEAD,
        text: `let plaintext = self
            .key
            .open_in_place(self.nonce(iv), Aad::from(aad), sealed)
            .map_err(|_| NotAuthentic)?;
        Ok(plaintext.len())`,
        becomes: `let len = sealed.len() - 16;
        let icv = self.seal(iv, aad, &mut sealed[..len].to_vec())?;
        if icv == sealed[len..] { Ok(len) } else { Err(NotAuthentic) }`,
      },
    ],
    // Whoever seals by the book does not understand this gateway any more.
    fails: { eavesdropping: 1, spoofing: 1, malformed: 3 },
  },
  {
    name: 'integrity: the ICV is not looked at',
    edits: [
      {
        file: 'crates/ipsec-datapath/src/esp/decapsulate.rs',
        text: `let plaintext_len = sa
        .suite
        .open(sequence, packet)
        .map_err(|_| DropReason::Integrity)?;`,
        becomes: `let unverified_len = packet.len() - front_len - sa.sizes.icv_len;
    let plaintext_len = sa
        .suite
        .open(sequence, packet)
        .unwrap_or(unverified_len);`,
      },
    ],
    // Forged numbers move the window, so that good packets are refused afterwards.
    fails: { modification: 2, injection: 1, spoofing: 1, 'traffic analysis': 1 },
  },
  {
    name: 'SPI: an unknown one is given to any SA',
    edits: [
      {
        file: INBOUND,
        text: 'self.sas.get_mut(&spi).map(|sa| &mut **sa)',
        becomes: `let known = self.sas.contains_key(&spi);
        let spi = if known { spi } else { *self.sas.keys().next()? };
        self.sas.get_mut(&spi).map(|sa| &mut **sa)`,
      },
    ],
    fails: { injection: 1, restart: 1 },
  },
  {
    name: 'selectors: a peer may bring any inner packet',
    edits: [
      {
        file: INBOUND,
        text: 'if !sa.selector.matches(Direction::Inbound, &inner.flow_key()) {',
        becomes: 'if false && !sa.selector.matches(Direction::Inbound, &inner.flow_key()) {',
      },
    ],
    fails: { spoofing: 1 },
  },
  {
    name: 'padding: not looked at',
    edits: [
      {
        file: 'crates/ipsec-datapath/src/esp/trailer.rs',
        text: 'if ascending {',
        becomes: 'if ascending || true {',
      },
    ],
    fails: { malformed: 1 },
  },
  {
    name: 'mode: any Next Header is taken for IP',
    edits: [
      {
        file: INBOUND,
        text: '_ => return Err(DropReason::Mode),',
        becomes: '_ => {}',
      },
    ],
    fails: { malformed: 1 },
  },
  {
    name: 'inner packet: its family may differ from Next Header',
    edits: [
      {
        file: INBOUND,
        text: 'if inner.is_v6() != (next_header == ProtocolNumber::IPV6) {',
        becomes: 'if false {',
      },
    ],
    fails: { malformed: 1 },
  },
  {
    name: 'replay: the window is not asked before a packet is opened',
    edits: [SEEN_BEFORE_OPENING],
    // What is as it was, is refused when the window is told of it.
    fails: { replay: 1 },
  },
  {
    name: 'replay: the window refuses nothing twice',
    edits: [
      SEEN_BEFORE_OPENING,
      {
        file: WINDOW,
        text: 'if self.seen(number) {\n            return Err(Refused::Duplicate);',
        becomes: 'if false {\n            return Err(Refused::Duplicate);',
      },
    ],
    fails: { replay: 2 },
  },
  {
    name: 'TFC padding: not sent',
    edits: [
      {
        file: 'crates/ipsec-datapath/src/esp/encapsulate.rs',
        text: 'inner_len.max(sa.tfc_pad_to_len)',
        becomes: 'inner_len',
      },
    ],
    fails: { 'traffic analysis': 1 },
  },
  {
    name: 'guard: cleartext that should have been protected comes in',
    edits: [
      {
        file: RULESET,
        text: '(Search::InOutside, Action::Protect) => dropped(counter::CLEARTEXT_INBOUND),',
        becomes: '(Search::InOutside, Action::Protect) => vec![verdict(pass)],',
      },
    ],
    fails: { plaintext: 1 },
  },
  {
    // Each of the three holds alone.
    name: 'guard: interface, blackhole and drop are gone after a crash',
    edits: [
      {
        file: 'crates/ipsec-io/src/tun/linux.rs',
        text: 'if options.persist {',
        becomes: 'if false && options.persist {',
      },
      {
        file: 'crates/ipsec-host/src/guard/parts.rs',
        text: 'route::add_in(connection, &blackhole(family, spec.table)).await?;',
        becomes: 'let _ = blackhole(family, spec.table);',
      },
      {
        file: RULESET,
        text: `(Search::OutLeave | Search::OutForwarded, Action::Protect) => {
                dropped(counter::CLEARTEXT_OUTBOUND)
            }`,
        becomes:
          '(Search::OutLeave | Search::OutForwarded, Action::Protect) => vec![verdict(pass)],',
      },
    ],
    fails: { plaintext: 1 },
  },
];

/** The same for the control plane, in what it was compiled to. */
export const PROGRAM_MUTATIONS: readonly Mutation[] = [
  {
    name: 'certificates: a path to an authority is not wanted',
    edits: [
      {
        file: 'packages/ipsec-node/dist/ike/auth/validate-peer.js',
        text: `if (typeof path === 'string')
        return refused(path);`,
        becomes: `if (typeof path === 'string')
        return { kind: 'validate', publicKey: leaf.publicKey, subject: leaf.subjectText };`,
      },
    ],
    fails: { impostor: 1 },
  },
  {
    name: 'cookies: never wanted',
    edits: [
      {
        file: 'packages/ipsec-node/dist/ike/admission.js',
        text: 'if (needsCookie && ',
        becomes: 'if (false && ',
      },
    ],
    // Gateway A gets through without one.
    fails: { flood: 1, restart: 1 },
  },
  {
    name: 'cookies: any is taken',
    edits: [
      {
        file: 'packages/ipsec-node/dist/ike/admission.js',
        text: '(cookie === null || !this.jar.verify(cookie, request, now))',
        becomes: 'false',
      },
    ],
    fails: { flood: 1, restart: 1 },
  },
  {
    name: 'uniqueness: the SAs that a peer had before it came again stay',
    edits: [
      {
        file: 'packages/ipsec-node/dist/ike/endpoint-host.js',
        text: 'for (const other of others) {',
        becomes: 'for (const other of []) {',
      },
    ],
    // What was recorded is refused as a replay, and not because nobody has its keys any more.
    fails: { restart: 1 },
  },
];
