"""Bounds by bytes: how many items of one size may wait, so that memory does not follow frame size."""

#: What a queue of frames may hold.
QUEUE_BYTES = 32 * 2**20


def items_within(item_bytes: int, most_items: int, most_bytes: int = QUEUE_BYTES) -> int:
    """How many items of ``item_bytes`` fit: at most ``most_items``, and always one."""
    return max(1, min(most_items, most_bytes // max(1, item_bytes)))
