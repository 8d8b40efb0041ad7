"""The embedded platform on one machine: its home and the processes that it consists of."""
