"""The number of strips that a GPU judges together."""

DEFAULT_BLOCK = 512
_SMALLEST, _LARGEST = 32, 8192


def check_block(block: int) -> int:
    """Return the size of a block. Raises ``ValueError`` unless it is 32, 64, 128 … 8,192."""
    if not _SMALLEST <= block <= _LARGEST or block & (block - 1):
        raise ValueError(f"a block has 32, 64, 128 … 8192 strips, not {block}")
    return block
