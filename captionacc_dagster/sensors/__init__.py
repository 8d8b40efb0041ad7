"""Sensors: each asks the catalogue for new work and requests runs, or reports to it how runs ended."""
