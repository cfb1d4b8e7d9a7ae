"""Draws the plots of docs/dynamics.md: `python scripts/draw_dynamics.py [folder]` writes docs/images/dynamics-*.svg."""

from __future__ import annotations

import sys
from pathlib import Path

from betterdb_agent_memory.drawing.markup import svg_file
from betterdb_agent_memory.dynamics.parameters import DEFAULT_PARAMETERS
from betterdb_agent_memory.dynamics.plots import (
    forgetting_curves,
    link_graph,
    retrievability_curves,
    strength_of_uses,
)
from betterdb_agent_memory.dynamics.presets import PRESETS


def drawings() -> dict[str, str]:
    """The files by name, with their texts."""
    spaced = [7.0 * week for week in range(1, 11)]
    in_a_row = [70 + use / 14_400 for use in range(10)]
    links = {
        "visit": {"museum": 1.6, "train": 0.9, "hotel": 0.5},
        "museum": {"painter": 1.1, "visit": 1.6},
        "train": {"strike": 0.7, "hotel": 0.4},
    }
    labels = {
        "visit": "the trip to Lisbon",
        "museum": "the museum of tiles",
        "train": "the night train",
        "hotel": "the hotel by the river",
        "painter": "the painter of tiles",
        "strike": "the strike in May",
    }
    drawn = {
        "presets": forgetting_curves(PRESETS),
        "importance": forgetting_curves({"default": DEFAULT_PARAMETERS}, importances=(0.1, 0.5, 0.9)),
        "retrievability": retrievability_curves(DEFAULT_PARAMETERS.stability.base_days),
        "spacing": strength_of_uses(
            {"ten uses in ten weeks": spaced, "ten uses in a minute": in_a_row, "never used": []},
            DEFAULT_PARAMETERS.chain,
        ),
        "links": link_graph("visit", labels, links),
    }
    return {f"dynamics-{name}.svg": svg_file(one) for name, one in drawn.items()}


def main() -> None:
    images = Path(__file__).resolve().parents[1] / "docs" / "images"
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else images
    for name, text in drawings().items():
        (folder / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
