"""The webhook, the listeners for changes of the catalogue, and the starter of runs that they share."""
