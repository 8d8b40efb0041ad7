"""What operators look at: health, metrics, alerts, and upkeep."""
