"""Branchline beside its peers in the same run: `python -m tests.bench [--json] [--only NAME] [--quick]`."""

import argparse
import sys

from appliance.lab import LabError, rootless
from tests.bench import compression, connections, goodput, pingpong
from tests.bench.report import Row, progress, table

BENCHMARKS = {
    "goodput": goodput.measure,
    "pingpong": pingpong.measure,
    "connections": connections.measure,
    "compression": compression.measure,
}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--only", choices=BENCHMARKS, action="append", help="this one; may be given again")
    parser.add_argument("--quick", action="store_true", help="fewer rounds: a look, not a figure")
    parser.add_argument("--json", action="store_true", help="one JSON object a line on standard output")
    options = parser.parse_args()
    rows: list[Row] = []
    try:
        rootless.ensure()
        for name, measure in BENCHMARKS.items():
            if options.only and name not in options.only:
                continue
            for row in measure(options.quick):
                rows.append(row)
                if options.json:
                    print(row.json(), flush=True)
    except LabError as error:
        progress(f"bench: {error}")
        return 1
    if not options.json:
        print(table(rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
