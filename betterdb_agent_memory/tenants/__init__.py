"""One store and its caches for each tenant of an agent, hundreds of them over one connection."""
