"""Havre: Docker's whole job in one Python package. See docs/architecture.md for the house and its rooms."""
