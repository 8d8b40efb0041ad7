"""Operation of the platform: health, metrics, alerts, and upkeep."""
