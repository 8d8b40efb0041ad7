"""Costs of remote calls: estimates before them, charges after them."""
