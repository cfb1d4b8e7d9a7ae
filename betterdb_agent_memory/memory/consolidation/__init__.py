"""Condensing memories: summaries that replace them, and facts that are kept up to date beside them.

`consolidate` is the door. Pure are `facts`, `dates`, `kinds`, `batching` and `curation`; the shell is
`summary` and `extraction`, with `journal` for what a crash must not lose.
"""
