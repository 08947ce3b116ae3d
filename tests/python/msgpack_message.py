"""Reads the newest message of a channel of MessagePack values, and answers with another one.

    msgpack_message.py SEGMENT

Needs the package `msgpack`. What it knows of a segment is what its header says: shm-comm/src/header.rs
draws it. It takes no lock and pins nothing, so the publisher must be at rest. Prints what it has read as
JSON, a line, on stderr; writes the same value, with `reader` set to "python" and every number of `stops`
negated, as MessagePack on stdout.
"""

import json
import struct
import sys

import msgpack

HEADER = struct.Struct("=8s4I2Q8IQ4Q2I4Q2I6Q2I")
FIELDS = """magic byte_order format pattern header_size checksum layout_hash name_len schema_len
reply_schema_len depth slots max_publishers max_subscribers chosen reply_hash payload_size payload_fixed
payload_stride max_len payload_align payload_offset reply_size reply_fixed reply_stride max_reply_len
reply_align reply_offset slot_stride control_offset records_offset rings_offset ring_stride file_size
first_generation reserved""".split()
READY = 3


def newest_message(segment):
    """The bytes of the newest message of the first publisher."""
    header = dict(zip(FIELDS, HEADER.unpack_from(segment)))
    assert header["magic"] == b"shm-comm" and header["header_size"] == HEADER.size, header
    assert header["format"] == 4, header
    ring = header["rings_offset"]
    (head,) = struct.unpack_from("=Q", segment, ring)
    for position in range(head - 1, head - 1 - header["slots"], -1):
        slot = ring + 128 + position % header["slots"] * header["slot_stride"]
        word, _meta, length = struct.unpack_from("=3Q", segment, slot)
        if word == 4 * position + READY:
            start = slot + header["payload_offset"]
            return segment[start : start + length]
    raise SystemExit("there is no message")


def main():
    with open(sys.argv[1], "rb") as file:
        value = msgpack.unpackb(newest_message(file.read()))
    print(json.dumps(value, sort_keys=True), file=sys.stderr)
    value["reader"] = "python"
    value["stops"] = [[-x, -y] for x, y in value["stops"]]
    sys.stdout.buffer.write(msgpack.packb(value))


main()
