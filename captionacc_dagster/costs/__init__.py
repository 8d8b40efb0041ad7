"""What remote calls cost: estimates before them, the ledger after them."""
