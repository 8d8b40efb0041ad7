"""The app on Modal: its image, settings, models, containers, and what crosses the wire."""
