"""Scapy's IKEv2 dissector: one message in hexadecimal a line in, one JSON object a line out."""

import json
import logging
import sys

logging.getLogger("scapy").setLevel(logging.ERROR)

try:
    from scapy.layers import ikev2  # noqa: E402
except ImportError:
    from scapy.contrib import ikev2  # noqa: E402

for line in sys.stdin:
    message = ikev2.IKEv2(bytes.fromhex(line.strip()))
    ke = message.getlayer(ikev2.IKEv2_KE)
    nonce = message.getlayer(ikev2.IKEv2_Nonce)
    print(json.dumps({
        "initiator": bytes(message.init_SPI).hex(),
        "exchange": message.exch_type,
        "length": message.length,
        "group": ke.group if ke else None,
        "ke": bytes(ke.ke).hex() if ke else None,
        "nonce": bytes(nonce.nonce).hex() if nonce else None,
    }), flush=True)
