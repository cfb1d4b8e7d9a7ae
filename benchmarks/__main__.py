"""What `make bench` runs: the side-by-side comparison, with whatever options follow."""

from __future__ import annotations

from benchmarks.side_by_side import main

if __name__ == "__main__":
    main()
