"""Ends of the laboratory: each mode prints the packets it sees, one line of hex each."""
import fcntl, os, select, socket, struct, sys


def say(data):
    sys.stdout.write(data.hex() + "\n")
    sys.stdout.flush()


def lines():
    buffer = b""
    while True:
        chunk = os.read(0, 65536)
        if not chunk:
            return
        buffer += chunk
        *whole, buffer = buffer.split(b"\n")
        for line in whole:
            yield line.decode()


def tun(name):
    fd = os.open("/dev/net/tun", os.O_RDWR)
    fcntl.ioctl(fd, 0x400454CA, struct.pack("16sH22x", name.encode(), 0x1001))
    print("ready", flush=True)
    buffer = b""
    while True:
        readable, _, _ = select.select([fd, 0], [], [])
        if fd in readable:
            try:
                say(os.read(fd, 65536))
            except OSError:
                return
        if 0 in readable:
            chunk = os.read(0, 65536)
            if not chunk:
                return
            buffer += chunk
            *whole, buffer = buffer.split(b"\n")
            for line in whole:
                os.write(fd, bytes.fromhex(line.decode()))


def sniff(name):
    s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
    s.setsockopt(socket.SOL_SOCKET, 33, 16 << 20)  # SO_RCVBUFFORCE
    s.bind((name, 0))
    print("ready", flush=True)
    while True:
        data, where = s.recvfrom(65536)
        if where[2] != 4 and data[12:14] in (b"\x08\x00", b"\x86\xdd"):
            say(data[14:])


def send():
    v4 = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
    v6 = socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_RAW)
    v4.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 << 20)
    print("ready", flush=True)
    for line in lines():
        words = line.split(" ")
        packet = bytes.fromhex(words[0])
        for s in (v4, v6):
            s.setsockopt(socket.SOL_SOCKET, 36, int(words[1], 16) if len(words) > 1 else 0)
        try:
            if packet[0] >> 4 == 4:
                v4.sendto(packet, (socket.inet_ntop(socket.AF_INET, packet[16:20]), 0))
            else:
                v6.sendto(packet, (socket.inet_ntop(socket.AF_INET6, packet[24:40]), 0, 0, 0))
            print("sent", flush=True)
        except OSError as error:
            print("refused", error.errno, flush=True)


def udp(*options):
    """Sends one datagram: udp DESTINATION PORT BYTES [dev=NAME] [mark=HEX] [src=ADDRESS]."""
    destination, port, size = options[0], int(options[1]), int(options[2])
    family = socket.AF_INET6 if ":" in destination else socket.AF_INET
    s = socket.socket(family, socket.SOCK_DGRAM)
    for option in options[3:]:
        key, value = option.split("=", 1)
        if key == "dev":
            s.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, value.encode())
        if key == "mark":
            s.setsockopt(socket.SOL_SOCKET, 36, int(value, 16))
        if key == "src":
            s.bind((value, 0))
    try:
        s.sendto(b"in clear " * (size // 9 + 1), (destination, port))
        print("sent")
    except OSError as error:
        print("refused", error.errno)


def serve(port, address="::"):
    """Answers each datagram with its length and the address it came from."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    s = socket.socket(family, socket.SOCK_DGRAM)
    s.bind((address, int(port)))
    print("ready", flush=True)
    while True:
        data, where = s.recvfrom(65536)
        s.sendto(b"%d %s" % (len(data), where[0].encode()), where)
        say(b"%d %s" % (len(data), where[0].encode()))


def ask(destination, port, size):
    """Sends one datagram and prints the answer, or `silence`."""
    family = socket.AF_INET6 if ":" in destination else socket.AF_INET
    s = socket.socket(family, socket.SOCK_DGRAM)
    s.settimeout(2)
    s.connect((destination, int(port)))
    try:
        s.send(b"x" * int(size))
        print(s.recv(65536).decode())
    except OSError as error:
        print("silence", error)


globals()[sys.argv[1]](*sys.argv[2:])
