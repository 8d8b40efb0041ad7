"""HTTP in, and changes of the catalogue: the webhook, the listener, and the runs they start."""
