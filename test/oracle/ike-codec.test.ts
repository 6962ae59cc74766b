/** Our encoding of IKE messages, as Wireshark and scapy read it. */
import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { expect, it } from 'vitest';
import { encodeMessage } from '../../packages/ipsec-node/src/ike/payload/codec.ts';
import type { IkeHeader, Payload } from '../../packages/ipsec-node/src/ike/payload/payload.ts';
import { run } from '../lab/command.ts';
import { describeWith } from '../lab/describe-with.ts';
import { requirePeer, scapyPython } from '../lab/peer.ts';
import { writePcap } from '../lab/pcap.ts';
import { repositoryRoot } from '../lab/registry.ts';
import { udpPacket } from './packet.ts';

const HEADER: IkeHeader = {
  spiInitiator: 0x1122_3344_5566_7788n,
  spiResponder: 0n,
  exchange: 34,
  majorVersion: 2,
  minorVersion: 0,
  isResponse: false,
  isInitiator: true,
  isHigherVersion: false,
  messageId: 0,
};
const NONCE = new Uint8Array(32).fill(0x5a);
const KE = new Uint8Array(32).fill(0x31);
const NO_SPI = new Uint8Array(0);

const INIT: readonly Payload[] = [
  {
    type: 'sa',
    proposals: [
      {
        number: 1,
        protocolId: 1,
        spi: NO_SPI,
        unknownTransformCount: 0,
        transforms: [
          { type: 'encryption', id: 12, keyBits: 256 },
          { type: 'integrity', id: 12, keyBits: null },
          { type: 'prf', id: 5, keyBits: null },
          { type: 'key-exchange', id: 31, keyBits: null },
        ],
      },
    ],
  },
  { type: 'ke', method: 31, data: KE },
  { type: 'nonce', data: NONCE },
  { type: 'notify', protocolId: 0, spi: NO_SPI, notify: 16_430, data: NO_SPI },
];

// Traffic selectors and the rest are sent encrypted alone; a dissector reads them in clear too.
const REST: readonly Payload[] = [
  { type: 'id-initiator', idType: 2, data: Buffer.from('left.example') },
  {
    type: 'ts-initiator',
    unknownCount: 0,
    selectors: [
      { family: 4, protocol: 6, startPort: 80, endPort: 443, from: '10.1.0.0', to: '10.1.255.255' },
      {
        family: 6,
        protocol: 0,
        startPort: 0,
        endPort: 65_535,
        from: '2001:db8::',
        to: '2001:db8::ff',
      },
    ],
  },
  { type: 'delete', protocolId: 3, spis: [Buffer.from('c0ffee01', 'hex')] },
];

async function dissect(message: Uint8Array, fields: readonly string[]): Promise<readonly string[]> {
  const path = `${mkdtempSync(`${tmpdir()}/ipn-ike-`)}/ike.pcap`;
  const ends = { source: '192.0.2.1', destination: '192.0.2.2' };
  writePcap(path, [udpPacket({ ...ends, sourcePort: 500, destinationPort: 500 }, message)]);
  const columns = fields.flatMap((field) => ['-e', field]);
  const { stdout } = await run([
    requirePeer('tshark'),
    ...['-r', path, '-T', 'fields', '-E', 'separator=|', '-E', 'occurrence=a', ...columns],
  ]);
  return stdout.trim().split('|');
}

describeWith(['tshark'], 'Wireshark', () => {
  it('reads an IKE_SA_INIT as it was meant, without a complaint', async () => {
    const message = encodeMessage(HEADER, INIT);
    const fields = await dissect(message, [
      'isakmp.ispi',
      'isakmp.exchangetype',
      'isakmp.length',
      'isakmp.typepayload',
      'isakmp.tf.type',
      'isakmp.key_exchange.dh_group',
      'isakmp.key_exchange.data',
      'isakmp.nonce',
      'isakmp.notify.msgtype',
      '_ws.malformed',
      '_ws.expert.severity',
    ]);
    expect(fields).toEqual([
      '1122334455667788',
      '34',
      `${message.length}`,
      '33,2,3,3,3,3,34,40,41',
      '1,3,2,4',
      '31',
      Buffer.from(KE).toString('hex'),
      Buffer.from(NONCE).toString('hex'),
      '16430',
      '',
      '',
    ]);
  });

  it('reads identities, traffic selectors and SPIs as they were meant', async () => {
    const fields = await dissect(encodeMessage(HEADER, REST), [
      'isakmp.id.data.fqdn',
      'isakmp.ts.start_ipv4',
      'isakmp.ts.end_ipv4',
      'isakmp.ts.start_ipv6',
      'isakmp.ts.end_ipv6',
      'isakmp.ts.start_port',
      'isakmp.ts.end_port',
      'isakmp.delete.spi',
      '_ws.malformed',
    ]);
    expect(fields).toEqual([
      'left.example',
      '10.1.0.0',
      '10.1.255.255',
      '2001:db8::',
      '2001:db8::ff',
      '80,0',
      '443,65535',
      'c0ffee01',
      '',
    ]);
  });
});

describeWith(['scapy'], 'scapy', () => {
  it('reads an IKE_SA_INIT as it was meant', async () => {
    const python = scapyPython() ?? 'python3';
    const message = encodeMessage(HEADER, INIT);
    const input = `${Buffer.from(message).toString('hex')}\n`;
    const { stdout } = await run([python, `${repositoryRoot}/test/oracle/scapy-ike.py`], { input });
    const read: unknown = JSON.parse(stdout);
    expect(read).toMatchObject({
      initiator: '1122334455667788',
      exchange: 34,
      length: message.length,
      group: 31,
      ke: Buffer.from(KE).toString('hex'),
      nonce: Buffer.from(NONCE).toString('hex'),
    });
  });
});
