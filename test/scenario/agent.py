"""Traffic of the scenarios, run inside a namespace. Commands and answers are lines of standard input and output.

    agent.py serve                                    echoes UDP 7001 and TCP 7002, IPv4 and IPv6
    agent.py talk MARKER TICK-MS DEVICE SOURCE>DESTINATION...
                                                      ICMP echo, UDP and TCP without end, MARKER in each
    agent.py datagrams SOURCE DESTINATION PORT BYTES COUNT MARKER WAIT-MS
                                                      UDP datagrams; prints how many came back, each within the wait
    agent.py inject DEVICE                            puts frames on the wire: one of hexadecimal digits a line
"""

import errno
import json
import os
import select
import socket
import struct
import sys
import time

UDP_PORT = 7001
TCP_PORT = 7002


def say(value):
    print(value if isinstance(value, str) else json.dumps(value), flush=True)


def family_of(address):
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def serve():
    poll = select.epoll()
    listeners, peers, datagrams = {}, {}, {}
    for family, any_address in ((socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::")):
        for kind, port in ((socket.SOCK_DGRAM, UDP_PORT), (socket.SOCK_STREAM, TCP_PORT)):
            listener = socket.socket(family, kind)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            listener.bind((any_address, port))
            if kind == socket.SOCK_STREAM:
                listener.listen(512)
            listener.setblocking(False)
            (listeners if kind == socket.SOCK_STREAM else datagrams)[listener.fileno()] = listener
            poll.register(listener, select.EPOLLIN)
    say("serving")
    while True:
        for number, _ in poll.poll():
            try:
                if number in datagrams:
                    data, sender = datagrams[number].recvfrom(65536)
                    datagrams[number].sendto(data, sender)
                elif number in listeners:
                    peer, _ = listeners[number].accept()
                    peer.setblocking(False)
                    peers[peer.fileno()] = peer
                    poll.register(peer, select.EPOLLIN)
                else:
                    data = peers[number].recv(65536)
                    if data == b"":
                        raise ConnectionResetError
                    peers[number].send(data)
            except BlockingIOError:
                pass
            except OSError:
                if number in peers:
                    poll.unregister(number)
                    peers.pop(number).close()


def checksum(data):
    total = sum(struct.unpack(f"!{len(data) // 2}H", data[: len(data) & ~1]))
    if len(data) & 1:
        total += data[-1] << 8
    total = (total >> 16) + (total & 0xFFFF)
    return ~(total + (total >> 16)) & 0xFFFF


class Flow:
    """All traffic of one pair of addresses."""

    def __init__(self, marker, device, source, destination):
        self.family = family_of(source)
        self.is_v6 = self.family == socket.AF_INET6
        self.device = device
        self.source, self.destination = source, destination
        self.payload = (marker + " ").encode() * 4
        self.tally = {
            kind: {"tried": 0, "refused": 0, "back": 0} for kind in ("icmp", "udp", "tcp", "stream")
        }
        icmp = socket.IPPROTO_ICMPV6 if self.is_v6 else socket.IPPROTO_ICMP
        self.icmp = self.open(socket.SOCK_RAW, icmp)
        self.udp = self.open(socket.SOCK_DGRAM)
        self.identity = os.getpid() & 0xFFFF
        self.count = 0
        self.connections = {"tcp": None, "stream": None}
        self.since = {"tcp": 0.0, "stream": 0.0}
        self.has_spoken = False

    def open(self, kind, protocol=0):
        opened = socket.socket(self.family, kind, protocol)
        if self.device != "-":
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, self.device.encode())
        opened.bind((self.source, 0))
        opened.setblocking(False)
        return opened

    def attempt(self, kind, action):
        self.tally[kind]["tried"] += 1
        try:
            action()
        except BlockingIOError:
            pass
        except OSError:
            self.tally[kind]["refused"] += 1

    def tick(self, now):
        self.count += 1
        self.attempt("udp", lambda: self.udp.sendto(self.payload, (self.destination, UDP_PORT)))
        kind = 128 if self.is_v6 else 8
        echo = struct.pack("!BBHHH", kind, 0, 0, self.identity, self.count & 0xFFFF) + self.payload
        if not self.is_v6:
            echo = echo[:2] + struct.pack("!H", checksum(echo)) + echo[4:]
        self.attempt("icmp", lambda: self.icmp.sendto(echo, (self.destination, 0)))
        # One new connection after the other, and one that lasts: what it sends again carries data.
        self.connect("tcp", now, 0.4)
        self.connect("stream", now, 3.0)

    def connect(self, kind, now, patience):
        connection = self.connections[kind]
        if connection is not None and now - self.since[kind] > patience:
            # The kernel goes on sending what was not acknowledged.
            connection.close()
            connection = None
        if connection is None:
            self.tally[kind]["tried"] += 1
            try:
                connection = self.open(socket.SOCK_STREAM)
                error = connection.connect_ex((self.destination, TCP_PORT))
                if error not in (0, errno.EINPROGRESS):
                    raise OSError(error, "connect")
            except OSError:
                self.tally[kind]["refused"] += 1
                if connection is not None:
                    connection.close()
                connection = None
            self.connections[kind] = connection
            self.since[kind] = now
            if kind == "tcp":
                self.has_spoken = False
        elif kind == "stream":
            self.attempt(kind, lambda: connection.send(self.payload))

    def hear(self, now):
        for kind, expected in (("udp", None), ("icmp", 129 if self.is_v6 else 0)):
            source = getattr(self, kind)
            while True:
                try:
                    data, sender = source.recvfrom(65536)
                except OSError:
                    break
                if kind == "icmp":
                    data = data if self.is_v6 else data[(data[0] & 15) * 4 :]
                    if data[0] != expected or data[4:6] != struct.pack("!H", self.identity):
                        continue
                if sender[0] == self.destination and self.payload in data:
                    self.tally[kind]["back"] += 1
        for kind in ("tcp", "stream"):
            self.converse(kind, now)

    def converse(self, kind, now):
        connection = self.connections[kind]
        if connection is None:
            return
        try:
            if kind == "tcp" and not self.has_spoken:
                # Fails until the connection is made.
                connection.getpeername()
                connection.send(self.payload)
                self.has_spoken = True
            if connection.recv(65536) == b"":
                raise ConnectionResetError
            self.tally[kind]["back"] += 1
            self.since[kind] = now
            if kind == "tcp":
                connection.close()
                self.connections[kind] = None
        except BlockingIOError:
            pass
        except OSError as error:
            if error.errno == errno.ENOTCONN:
                return
            connection.close()
            self.connections[kind] = None


def talk(marker, tick_ms, device, *pairs):
    flows = [Flow(marker, device, *pair.split(">")) for pair in pairs]
    say("talking")
    paused = False
    buffered = b""
    while True:
        begin = time.monotonic()
        for flow in flows:
            flow.hear(begin)
            if not paused:
                flow.tick(begin)
        left = max(0.0, int(tick_ms) / 1000 - (time.monotonic() - begin))
        readable, _, _ = select.select([0], [], [], left)
        if not readable:
            continue
        data = os.read(0, 65536)
        if data == b"":
            return
        *lines, buffered = (buffered + data).split(b"\n")
        for line in lines:
            if line == b"count":
                say({f"{flow.source}>{flow.destination}": flow.tally for flow in flows})
            elif line in (b"pause", b"go"):
                paused = line == b"pause"
                if paused:
                    for flow in flows:
                        for kind, connection in flow.connections.items():
                            if connection is not None:
                                # Gone without a word, so that nothing follows.
                                linger = struct.pack("ii", 1, 0)
                                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                                connection.close()
                                flow.connections[kind] = None
                say(line.decode())


def datagrams(source, destination, port, size, count, marker, wait_ms):
    sender = socket.socket(family_of(destination), socket.SOCK_DGRAM)
    sender.bind((source, 0))
    sender.settimeout(int(wait_ms) / 1000)
    payload = (marker.encode() * (int(size) // len(marker) + 1))[: int(size)]
    back, refused = 0, 0
    for number in range(int(count)):
        # What the queue of an interface takes at once.
        if number % 100 == 99:
            time.sleep(0.005)
        try:
            sender.sendto(payload, (destination, int(port)))
        except OSError:
            refused += 1
    try:
        while back < int(count):
            back += sender.recvfrom(65536)[0] == payload
    except OSError:
        pass
    say({"sent": int(count) - refused, "refused": refused, "back": back, "port": sender.getsockname()[1]})


def inject(device):
    wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
    wire.bind((device, 0))
    count = 0
    for line in sys.stdin:
        wire.send(bytes.fromhex(line.strip()))
        count += 1
        # What a receive buffer takes at once.
        if count % 16 == 0:
            time.sleep(0.005)
    say({"sent": count})


if __name__ == "__main__":
    {"serve": serve, "talk": talk, "datagrams": datagrams, "inject": inject}[sys.argv[1]](*sys.argv[2:])
