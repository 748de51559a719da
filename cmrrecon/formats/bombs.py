"""Recognises compressed data that would grow beyond anything real."""

# K-space compresses to a tenth, undersampled k-space to a hundredth at best; small arrays of zeros
# may shrink further.
MOST_PACKED, SMALL_BYTES = 200, 2**28


def is_bomb(declared: int, packed: int) -> bool:
    """Return whether compressed data declare more bytes than real data can need.

    Parameters
    ----------
    declared : int
        Bytes after inflation.
    packed : int
        Bytes in the file.
    """
    return declared > MOST_PACKED * packed + SMALL_BYTES
