"""The limits of the connections that we open ourselves."""

from __future__ import annotations

MAX_CONNECTIONS = 64
"""Connections to one server, or to one node of a cluster."""

CONNECT_TIMEOUT_SECONDS = 5.0
ANSWER_TIMEOUT_SECONDS = 15.0
"""Above the search timeout, so that the server gives up before we do."""
