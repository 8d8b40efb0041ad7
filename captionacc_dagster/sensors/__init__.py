"""What keeps the platform moving: each sensor asks the catalogue for new work and requests runs."""
