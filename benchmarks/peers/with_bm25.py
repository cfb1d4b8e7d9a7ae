"""Words alone: bm25s with its English stop words and Snowball stems, one index a conversation."""

from __future__ import annotations

import sys
from pathlib import Path

from benchmarks.peers.exchange import read_workload, write_rankings


def main(folder: Path) -> None:
    import bm25s
    import Stemmer

    workload = read_workload(folder)
    stemmer = Stemmer.Stemmer("english")
    rankings = []
    for talk in workload.talks:
        index = bm25s.BM25()
        index.index(
            bm25s.tokenize(talk.texts, stopwords="en_plus", stemmer=stemmer, show_progress=False), show_progress=False
        )
        asked = bm25s.tokenize(
            talk.questions, stopwords="en_plus", stemmer=stemmer, show_progress=False, return_ids=False
        )
        depth = min(workload.depth, len(talk.memories))
        found, scores = index.retrieve(asked, k=depth, show_progress=False)
        ids = talk.ids
        rankings.append(
            [
                [ids[place] for place, score in zip(row, row_scores, strict=True) if score > 0]
                for row, row_scores in zip(found.tolist(), scores.tolist(), strict=True)
            ]
        )
    write_rankings(folder, {"BM25 alone": rankings}, ["bm25s", "PyStemmer"])


if __name__ == "__main__":
    main(Path(sys.argv[1]))
