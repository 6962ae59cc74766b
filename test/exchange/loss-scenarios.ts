/** What is explored: the exchanges whose datagrams are lost, doubled and delayed. */
import type { Scenario } from './losses.js';
import { ESP_PFS } from './peers.js';

const ONE = { ikeSas: 1, children: 1 } as const;
const rekeys = { isConnected: true, losesNothing: true, expected: ONE } as const;
const ends = (ikeSas: number) =>
  ({ isConnected: true, losesNothing: false, expected: { ikeSas, children: 0 } }) as const;
const connects = { isConnected: false, losesNothing: false, expected: ONE } as const;
const pfs = { proposals: [ESP_PFS] } as const;

/** Each exchange, and the same by both sides at the same moment. */
export const EXCHANGES: Readonly<Record<string, Scenario>> = {
  'IKE_SA_INIT and IKE_AUTH': { ...connects, begin: (two) => two.initiate('a', 'net', 'b') },
  'IKE_SA_INIT with a cookie': {
    ...connects,
    limits: { cookieThreshold: 0 },
    begin: (two) => two.initiate('a', 'net', 'b'),
  },
  'both sides connect': {
    ...connects,
    both: { unique: 'replace' },
    begin: (two) => {
      two.initiate('a', 'net', 'b');
      two.initiate('b', 'net', 'a');
    },
  },
  'rekey of a child': { ...rekeys, begin: (two) => two.rekeyChild('a') },
  'rekey of a child with PFS, by the responder': {
    ...rekeys,
    terms: pfs,
    begin: (two) => two.rekeyChild('b'),
  },
  'rekey of the IKE SA': { ...rekeys, begin: (two) => two.rekeyIkeSa('a') },
  'Delete of a child': { ...ends(1), begin: (two) => two.terminateChild('a') },
  'Delete of the IKE SA': { ...ends(0), begin: (two) => two.terminateIkeSa('b') },
  'is the peer alive': {
    ...rekeys,
    // Nothing but the probe goes over the wire, and an answer to it is enough.
    begin: (two) => two.probe('a'),
  },
  'two rekeys of a child, a loses': {
    ...rekeys,
    loser: 'a',
    begin: (two) => {
      two.rekeyChild('a');
      two.rekeyChild('b');
    },
  },
  'two rekeys of a child, b loses': {
    ...rekeys,
    loser: 'b',
    begin: (two) => {
      two.rekeyChild('a');
      two.rekeyChild('b');
    },
  },
  'two rekeys of the IKE SA, a loses': {
    ...rekeys,
    loser: 'a',
    begin: (two) => {
      two.rekeyIkeSa('a');
      two.rekeyIkeSa('b');
    },
  },
  'two rekeys of the IKE SA, b loses': {
    ...rekeys,
    loser: 'b',
    begin: (two) => {
      two.rekeyIkeSa('a');
      two.rekeyIkeSa('b');
    },
  },
};

/** Two different exchanges that cross. */
export const CROSSINGS: Readonly<Record<string, Scenario>> = {
  'rekey of a child and of the IKE SA': {
    ...rekeys,
    begin: (two) => {
      two.rekeyChild('a');
      two.rekeyIkeSa('b');
    },
  },
  'rekey of the IKE SA, then of a child by the same side': {
    ...rekeys,
    begin: (two) => {
      two.rekeyIkeSa('a');
      two.rekeyChild('a');
    },
  },
  'rekey and Delete of a child': {
    ...ends(1),
    begin: (two) => {
      two.rekeyChild('a');
      two.terminateChild('b');
    },
  },
  'rekey of a child and Delete of the IKE SA': {
    ...ends(0),
    begin: (two) => {
      two.rekeyChild('a');
      two.terminateIkeSa('b');
    },
  },
  'rekey of the IKE SA and Delete of a child': {
    ...ends(1),
    begin: (two) => {
      two.rekeyIkeSa('a');
      two.terminateChild('b');
    },
  },
  'rekey and Delete of the IKE SA': {
    ...ends(0),
    begin: (two) => {
      two.rekeyIkeSa('a');
      two.terminateIkeSa('b');
    },
  },
  'two Deletes of a child': {
    ...ends(1),
    begin: (two) => {
      two.terminateChild('a');
      two.terminateChild('b');
    },
  },
  'two Deletes of the IKE SA': {
    ...ends(0),
    begin: (two) => {
      two.terminateIkeSa('a');
      two.terminateIkeSa('b');
    },
  },
};
