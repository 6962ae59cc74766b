"""Scapy's IPsec layer behind a pipe: one JSON request a line in, one JSON answer a line out.

Requests:
  {"op": "seal", "sa": SA, "inner": hex, "seq": n, "seqHigh": n, "iv": hex, "tunnel": {"source", "destination"},
   "udp": {"sourcePort", "destinationPort"} or absent}           -> {"outer": hex}
  {"op": "open", "sa": SA, "esp": hex, "seqHigh": n}             -> {"data": hex, "padding": hex, "nextHeader": n}
  SA is {"spi": n, "cipher": "AES-GCM" | "CHACHA20-POLY1305" | "AES-CBC", "material": hex of key and salt, "esn": bool,
         and with AES-CBC "integrity": scapy's name, "integrityKey": hex}

A wrong ICV answers {"refused": "integrity"}, anything else that goes wrong {"error": text}.
"""

import json
import logging
import sys

logging.getLogger("scapy").setLevel(logging.ERROR)

from scapy.layers.inet import IP, UDP  # noqa: E402
from scapy.layers.inet6 import IPv6  # noqa: E402
from scapy.layers.ipsec import ESP, IPSecIntegrityError, SecurityAssociation  # noqa: E402
from scapy.packet import raw  # noqa: E402


def header(tunnel):
    kind = IPv6 if ":" in tunnel["source"] else IP
    return kind(src=tunnel["source"], dst=tunnel["destination"])


def association(request, tunnel):
    sa = request["sa"]
    udp = request.get("udp")
    nat = UDP(sport=udp["sourcePort"], dport=udp["destinationPort"]) if udp else None
    # Extended sequence numbers are off unless asked for.
    return SecurityAssociation(
        ESP,
        spi=sa["spi"],
        crypt_algo=sa["cipher"],
        crypt_key=bytes.fromhex(sa["material"]),
        auth_algo=sa.get("integrity"),
        auth_key=bytes.fromhex(sa["integrityKey"]) if "integrityKey" in sa else None,
        tunnel_header=header(tunnel),
        nat_t_header=nat,
        esn_en=sa["esn"],
        esn=request.get("seqHigh", 0),
    )


def seal(request):
    sa = association(request, request["tunnel"])
    inner = bytes.fromhex(request["inner"])
    packet = IPv6(inner) if inner[0] >> 4 == 6 else IP(inner)
    outer = sa.encrypt(packet, seq_num=request["seq"], iv=bytes.fromhex(request["iv"]))
    return {"outer": raw(outer).hex()}


def open_(request):
    sa = association(request, {"source": "192.0.2.1", "destination": "192.0.2.2"})
    packet = ESP(bytes.fromhex(request["esp"]))
    # Not sa.decrypt(): it changes the packet it is given and dissects what it returns.
    if "integrity" in request["sa"]:
        sa.auth_algo.verify(packet, sa.auth_key, esn_en=sa.esn_en, esn=sa.esn)
    icv_size = sa.crypt_algo.icv_size or sa.auth_algo.icv_size
    plain = sa.crypt_algo.decrypt(
        sa, packet, sa.crypt_key, icv_size, esn_en=sa.esn_en, esn=sa.esn
    )
    return {
        "data": bytes(plain.data).hex(),
        "padding": bytes(plain.padding).hex(),
        "nextHeader": plain.nh,
    }


def answer(line):
    try:
        request = json.loads(line)
        return {"seal": seal, "open": open_}[request["op"]](request)
    except IPSecIntegrityError:
        return {"refused": "integrity"}
    except Exception as error:  # A worker answers every line, whatever happens.
        return {"error": f"{type(error).__name__}: {error}"}


for each in sys.stdin:
    sys.stdout.write(json.dumps(answer(each)) + "\n")
    sys.stdout.flush()
