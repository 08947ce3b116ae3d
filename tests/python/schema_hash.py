"""Reads a segment, or a schema in its binary form, from every file named or from standard input; prints
the canonical text and the layout hash. Written by docs/schema.md alone, as in any other language."""

import struct
import sys

PRIMITIVES = ["u8", "u16", "u32", "u64", "u128", "i8", "i16", "i32", "i64", "i128", "f32", "f64",
              "bool", "char"]
PRIMITIVE, NONZERO, ARRAY, SLICE, STRING, VEC, OPTION, STRUCT, ENUM, ENCODED, VARIANT = range(1, 12)
VERSION = 1
MAX_LEN = 1 << 16
MAX_DEPTH = 64


def fnv1a(data):
    value = 0xCBF29CE484222325
    for byte in data:
        value = (value ^ byte) * 0x100000001B3 % (1 << 64)
    return value


def schema_of(data):
    """Of a segment what lies behind the channel's name; anything else is a schema already."""
    if data[:8] != b"shm-comm":
        return data
    # The header is in this machine's byte order, the schema is not.
    (header_size,) = struct.unpack_from("=I", data, 20)
    name_len, schema_len = struct.unpack_from("=II", data, 40)
    return data[header_size + name_len:][:schema_len]


class Reader:
    def __init__(self, data):
        if not 16 <= len(data) <= MAX_LEN:
            raise ValueError(f"{len(data)} bytes")
        version, nodes, text_len, _ = struct.unpack_from("<IIII", data)
        if version != VERSION:
            raise ValueError(f"version {version}")
        text_at = 16 + nodes * 32
        if text_at + text_len != len(data):
            raise ValueError(f"{len(data)} bytes for {nodes} nodes and {text_len} bytes of names")
        self.nodes = struct.iter_unpack("<BBBBHHQQQ", data[16:text_at])
        self.text = data[text_at:]

    def take(self, length):
        taken, self.text = self.text[:length], self.text[length:]
        return taken.decode()

    def next(self):
        node = next(self.nodes, None)
        if node is None:
            raise ValueError("ends before its last node")
        kind, primitive, align_log2, _, name_len, label_len, size, place, count = node
        label = self.take(label_len)
        name = self.take(name_len)
        return kind, primitive, 1 << align_log2, name, label, size, place, count

    def type(self, node, depth=1):
        """The canonical text of the type that begins with this node."""
        if depth > MAX_DEPTH:
            raise ValueError(f"nested more than {MAX_DEPTH} deep")
        kind, primitive, align, name, label, size, _, count = node
        name_of = PRIMITIVES[primitive - 1] if primitive else None
        inner = lambda: self.type(self.next(), depth + 1)
        if kind == PRIMITIVE:
            return name_of
        if kind == NONZERO:
            return f"nonzero<{name_of}>"
        if kind == ARRAY:
            return f"[{inner()};{count}]"
        if kind == SLICE:
            return f"[{inner()}]"
        if kind == STRING:
            return f"string<{count}>"
        if kind == VEC:
            return f"vec<{inner()};{count}>"
        if kind == OPTION:
            return f"option<{inner()}>"
        if kind == STRUCT:
            fields = []
            for _ in range(count):
                field = self.next()
                field_name, offset = field[4], field[6]
                fields.append(f"{field_name}@{offset}:{self.type(field, depth + 1)}")
            return f"{name}{{{','.join(fields)}}}{size}/{align}"
        if kind == ENUM:
            values = []
            for _ in range(count):
                variant = self.next()
                if variant[0] != VARIANT:
                    raise ValueError(f"a value of kind {variant[0]}")
                value = variant[6]
                if name_of.startswith("i") and value >= 1 << 63:
                    value -= 1 << 64
                values.append(f"{variant[4]}={value}")
            return f"{name}:{name_of}{{{','.join(values)}}}"
        if kind == ENCODED:
            return f"{label}({name})"
        raise ValueError(f"a node of kind {kind}")


def canonical(data):
    reader = Reader(data)
    text = reader.type(reader.next())
    if reader.text or next(reader.nodes, None):
        raise ValueError("goes on behind its end")
    return text


if __name__ == "__main__":
    for file in [open(path, "rb") for path in sys.argv[1:]] or [sys.stdin.buffer]:
        text = canonical(schema_of(file.read())).encode()
        # As bytes: names may have any letters, whatever the terminal thinks.
        sys.stdout.buffer.write(text + f"\n{fnv1a(text):#018x}\n".encode())
