"""How memories change: what is believed of them, what is learnt from outcomes, links, corrections; the pure part."""
