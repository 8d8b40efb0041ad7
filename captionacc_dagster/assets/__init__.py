"""The graph: one module a step, in the order in which a video goes through them."""
