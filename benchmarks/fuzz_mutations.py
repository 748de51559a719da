"""Damage the bytes of a file, reproducibly from a seed."""

import random
import re

# Tokens that break parsers of text, or ask them for too much.
TOKENS = (
    *(b"", b"\0", b"\xff", b'"', b"'", b"[", b"]", b"{", b"}", b",", b"\n", b"=", b"null", b"true"),
    *(b"NaN", b"-Infinity", b"1e999", b"-1", b"0", b"99999999999999999999", b"0.5", b"x", b"[[]]"),
    *(b"9" * 5000, b"[" * 2000, b"a" * 200_000, b'{"a":' * 1500, b"../../x", b"\xf0\x9f\x98\x80"),
)
EDGES = (0, 1, 2, 127, 255, 2**15, 2**16 - 1, 2**31 - 1, 2**31, 2**32 - 1, 2**40, 2**63, 2**64 - 1)


def truncated(content: bytearray, chance: random.Random) -> bytearray:
    return content[: chance.randrange(len(content))]


def flipped(content: bytearray, chance: random.Random) -> bytearray:
    for _ in range(chance.choice([1, 1, 1, 4, 16])):
        content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
    return content


def overwritten(content: bytearray, chance: random.Random) -> bytearray:
    start = chance.randrange(len(content))
    length = min(chance.choice([1, 8, 64, 512]), len(content) - start)
    content[start : start + length] = chance.randbytes(length)
    return content


def zeroed(content: bytearray, chance: random.Random) -> bytearray:
    start = chance.randrange(len(content))
    length = min(chance.choice([4, 64, 512, 4096]), len(content) - start)
    content[start : start + length] = bytes(length)
    return content


def spliced(content: bytearray, chance: random.Random) -> bytearray:
    """Copy, insert or remove a block."""
    start, target = sorted(chance.randrange(len(content)) for _ in range(2))
    block = content[start : start + chance.choice([8, 64, 512, 4096])]
    kind = chance.choice(["copy", "insert", "remove"])
    if kind == "remove":
        del content[start : start + len(block)]
    else:
        content[target : target + (len(block) if kind == "copy" else 0)] = block
    return content


def field(content: bytearray, chance: random.Random) -> bytearray:
    """Set a number in a header (at the beginning or the end of the file) to an extreme value."""
    width = chance.choice([1, 2, 4, 8])
    order = chance.choice(["little", "big"])
    reach = min(chance.choice([64, 512, 4096]), len(content))
    start = chance.randrange(reach)
    start = start if chance.random() < 0.75 else len(content) - 1 - start
    value = chance.choice(EDGES) % 256**width
    content[start : start + width] = value.to_bytes(width, order)
    return content


def token(content: bytearray, chance: random.Random) -> bytearray:
    """Replace or insert a token of text, or swap the values of two numbers."""
    words = [match.span() for match in re.finditer(rb"[\w.+-]+", content[:100_000])]
    if not words:
        return flipped(content, chance)
    start, stop = chance.choice(words)
    if chance.random() < 0.3:
        stop = start
    content[start:stop] = chance.choice(TOKENS)
    return content


BINARY = (truncated, flipped, overwritten, zeroed, spliced, field)
TEXT = (*BINARY, token, token, token, token, token, token)


def mutant(content: bytes, name: str, seed: int, *, text: bool) -> tuple[str, bytes]:
    """Return the kind of damage and the damaged content; the same for the same name and seed."""
    chance = random.Random(f"{name}/{seed}")
    kind = chance.choice(TEXT if text else BINARY)
    return kind.__name__, bytes(kind(bytearray(content), chance))
