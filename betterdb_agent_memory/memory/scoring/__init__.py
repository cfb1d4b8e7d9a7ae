"""How a candidate's worth is computed: one file a model, all of them pure and behind one protocol."""
