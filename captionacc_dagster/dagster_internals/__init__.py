"""Everything that touches private names of Dagster.

Each module states what it uses, why, and what a later release of Dagster that changes it brings about. No
other module of the product imports from a ``dagster._…`` module; ``tests/test_arrows.py`` holds that.
"""
