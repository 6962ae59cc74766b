/** Loads the built package in the Node that runs this, and uses a little of each part of it. */

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { root } from './command.mjs';

const library = await import('ipsec-node');
const packet = await import('ipsec-node/packet');
assert.ok(Object.keys(library).length > 0);

const require = createRequire(import.meta.url);
assert.equal(require('ipsec-node/packet').PacketBatch, packet.PacketBatch);

/** An IPv4 packet of protocol 253 (experiments), 10.1.0.5 to 10.2.0.9. */
function innerPacket(text) {
  const header = Buffer.from('450000000000400040fd00000a0100050a020009', 'hex');
  header.writeUInt16BE(20 + text.length, 2);
  let sum = 0;
  for (let at = 0; at < 20; at += 2) sum += header.readUInt16BE(at);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >> 16);
  header.writeUInt16BE(0xffff - sum, 10);
  return Buffer.concat([header, Buffer.from(text)]);
}

for (const suite of ['aes128gcm16', 'aes256gcm16', 'chacha20poly1305']) {
  const key = Buffer.alloc(suite === 'aes128gcm16' ? 20 : 36, 7);
  const shared = { spi: 0xc0000001, suite, key, encapsulation: 'udp', esn: true };
  const [left, right] = ['192.0.2.1', '198.51.100.2'];
  const outbound = new packet.OutboundSa({ ...shared, local: left, remote: right });
  const inbound = new packet.InboundSa({ ...shared, local: right, remote: left });
  const batch = new packet.PacketBatch({ packets: 16, bytesPerPacket: 2048 });
  const sent = Array.from({ length: 8 }, (_, n) => innerPacket(`number ${n}`));
  for (const each of sent) batch.push(each);
  assert.equal(outbound.encapsulate(batch), sent.length);
  const wire = sent.map((_, index) => Buffer.from(batch.packet(index)));
  assert.ok(wire.every((each, index) => !each.includes(`number ${index}`)));
  assert.equal(inbound.decapsulate(batch), sent.length);
  for (const [index, each] of sent.entries()) {
    assert.deepEqual(Buffer.from(batch.packet(index)), each);
  }
  batch.clear();
  for (const each of wire) batch.push(each);
  assert.equal(inbound.decapsulate(batch), 0);
  assert.match(batch.reason(0) ?? '', /replay|duplicate/);
}

const main = join(root, 'packages/ipsec-node/dist/cli/main.js');
const version = execFileSync(process.execPath, [main, 'version'], { encoding: 'utf8' });
assert.match(version, /\d+\.\d+\.\d+/);
process.stdout.write(`Node ${process.versions.node}: works\n`);
