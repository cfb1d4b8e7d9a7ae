"""What the words of a question say about memories. Pure: nothing here reads or writes anything.

`analysis` brings texts to stems (`tokens`, `languages`, `stop_words`), `bm25` weighs them, `rare` chooses which to
search for. `dates` (`date_patterns`, `date_reading`, `phrases`) and `actors` find what a question names.
"""
