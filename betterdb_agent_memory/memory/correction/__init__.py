"""Memories that take the places of others: corrections, lineage, and what was believed when."""
