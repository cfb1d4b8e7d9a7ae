"""What became of the memories of a store, one change after another, for whoever follows them."""
