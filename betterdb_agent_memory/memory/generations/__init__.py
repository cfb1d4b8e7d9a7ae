"""Changing the embedding model without downtime."""
