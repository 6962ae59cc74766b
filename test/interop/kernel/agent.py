"""One end of the traffic: commands as lines of JSON on standard input, answers on standard output.

Serves a TCP port that answers with the SHA-256 of what it was sent, and a UDP port that remembers
the IP header's TOS or Traffic Class. With the argument `encapsulation` it also opens UDP 4500 for the kernel's ESP.
"""

import hashlib
import json
import os
import socket
import struct
import sys
import threading
import time

PORT = 7000
UDP_ENCAP, UDP_ENCAP_ESPINUDP = 100, 2

marks = []


def bound(family, kind, port):
    end = socket.socket(family, kind)
    end.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if family == socket.AF_INET6:
        end.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    end.bind(("", port))
    return end


def digest_of(connection):
    digest = hashlib.sha256()
    while part := connection.recv(1 << 18):
        digest.update(part)
    return digest


def serve(connection):
    with connection:
        connection.settimeout(60)
        connection.sendall(digest_of(connection).hexdigest().encode())


def accept(listener):
    while True:
        connection, _ = listener.accept()
        threading.Thread(target=serve, args=(connection,), daemon=True).start()


def remember(end, family):
    level, kind = (
        (socket.IPPROTO_IP, socket.IP_TOS)
        if family == socket.AF_INET
        else (socket.IPPROTO_IPV6, socket.IPV6_TCLASS)
    )
    while True:
        data, ancillary, _, _ = end.recvmsg(2048, 256)
        for got_level, got_kind, value in ancillary:
            if (got_level, got_kind) == (level, kind):
                number = value[0] if len(value) == 1 else struct.unpack("i", value)[0]
                marks.append({"text": data.decode(), "tos": number})


def transfer(command):
    data = os.urandom(command["bytes"])
    started = time.monotonic()
    with socket.create_connection(
        (command["to"], PORT), timeout=60, source_address=(command["from"], 0)
    ) as connection:
        connection.sendall(data)
        connection.shutdown(socket.SHUT_WR)
        answer = b""
        while part := connection.recv(4096):
            answer += part
    return {
        "sent": hashlib.sha256(data).hexdigest(),
        "received": answer.decode(),
        "seconds": round(time.monotonic() - started, 3),
    }


def datagrams(command):
    """Several datagrams with one TOS or Traffic Class."""
    six = ":" in command["to"]
    with socket.socket(socket.AF_INET6 if six else socket.AF_INET, socket.SOCK_DGRAM) as end:
        if six:
            end.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_TCLASS, command["tos"])
        else:
            end.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, command["tos"])
        end.bind((command["from"], 0))
        for number in range(command["count"]):
            end.sendto(f"{command['text']} {number}".encode(), (command["to"], PORT))
    return {}


def inject(command):
    """Frames put on a device as they are."""
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as end:
        end.bind((command["device"], 0))
        for frame in command["frames"]:
            end.send(bytes.fromhex(frame))
    return {}


def xfrm_stat(_):
    with open("/proc/net/xfrm_stat", encoding="ascii") as lines:
        pairs = [line.split() for line in lines]
    return {name: int(value) for name, value in pairs}


def seen(_):
    return {"marks": list(marks)}


COMMANDS = {each.__name__: each for each in (transfer, datagrams, inject, xfrm_stat, seen)}


def main():
    kept = []
    for family in (socket.AF_INET, socket.AF_INET6):
        if sys.argv[1:] == ["encapsulation"]:
            end = bound(family, socket.SOCK_DGRAM, 4500)
            end.setsockopt(socket.IPPROTO_UDP, UDP_ENCAP, UDP_ENCAP_ESPINUDP)
            kept.append(end)
        listener = bound(family, socket.SOCK_STREAM, PORT)
        listener.listen(16)
        threading.Thread(target=accept, args=(listener,), daemon=True).start()
        end = bound(family, socket.SOCK_DGRAM, PORT)
        if family == socket.AF_INET:
            end.setsockopt(socket.IPPROTO_IP, socket.IP_RECVTOS, 1)
        else:
            end.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVTCLASS, 1)
        threading.Thread(target=remember, args=(end, family), daemon=True).start()
    print("{}", flush=True)
    for line in sys.stdin:
        command = json.loads(line)
        try:
            answer = COMMANDS[command["do"]](command)
        except OSError as error:
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), flush=True)


main()
