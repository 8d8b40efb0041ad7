"""Deployment of the app on Modal: image, settings, models, containers and the wire format."""
