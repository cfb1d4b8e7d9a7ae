"""Condensing memories: the pure part of fact reconciliation, and the types both kinds share."""
