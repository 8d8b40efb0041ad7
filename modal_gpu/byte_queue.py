"""Queue limits in bytes, which bound memory for frames of any size."""

#: Default limit of a queue of frames.
QUEUE_BYTES = 32 * 2**20


def items_within(item_bytes: int, most_items: int, most_bytes: int = QUEUE_BYTES) -> int:
    """Return the number of items of ``item_bytes`` that fit: at most ``most_items``, at least 1."""
    return max(1, min(most_items, most_bytes // max(1, item_bytes)))
