"""What a store can be asked to do, by what it is about."""
