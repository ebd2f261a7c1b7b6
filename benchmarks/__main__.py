"""All benchmarks, one after the other, and a table of what they found.

`python -m benchmarks [--json]`
"""

import argparse
import json
import subprocess
import sys
from typing import Any

# By program: the figures of its JSON object that matter, and what is aimed at.
_FIGURES: dict[str, dict[str, str]] = {
    "overhead": {
        "overhead_share": "under 0.03",
        "parts_share": "",
        "snapshot_share": "",
    },
    "scaling": {
        "scaling_efficiency": "0.85 or more",
        "independent_efficiency": "",
        "efficiency_vs_independent": "",
        "communication_share": "",
    },
    "checkpoint": {
        "stall_s": "",
        "stall_vs_host_copy": "about 1",
        "stall_vs_synchronous": "",
        "training_lost_vs_synchronous": "",
    },
    "loader": {
        "gather_vs_memmap": "",
        "prefetched_vs_memmap": "",
        "prefetched_vs_best_peer": "",
    },
    "ingest": {
        "ours_vs_pillow": "",
        "ours_psnr_db": "",
        "pillow_psnr_db": "",
    },
    "evaluation": {
        "extraction_vs_torch_fidelity": "1.7 or more",
        "extraction_feature_error": "under 0.0001",
        "fid_vs_sqrtm": "20 or more",
        "fid_difference": "under 0.000001",
        "intra_fid_seconds": "under 30",
    },
    "study_overhead": {
        "overhead_s": "under 3",
        "trivial_seconds": "under 180",
        "trivial_peak_gb": "",
    },
}


def run(program: str) -> dict[str, Any]:
    """Runs `python -m benchmarks.<program>`, shows what it says and returns its object."""
    print(f"== {program}", flush=True)
    command = [sys.executable, "-m", f"benchmarks.{program}", "--json"]
    result: dict[str, Any] = {}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith("{"):
                result = json.loads(line)
            else:
                print(line, end="", flush=True)
    if process.returncode != 0:
        sys.exit(process.returncode)
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="end with one JSON object")
    arguments = parser.parse_args()

    results = {program: run(program) for program in _FIGURES}
    print("== all")
    for program, figures in _FIGURES.items():
        for name, target in figures.items():
            value = results[program][name]
            shown = "absent" if value is None else f"{value:.4g}"
            print(f"{program:<12} {name:<30} {shown:>8}  {target}".rstrip())
    if arguments.json:
        print(json.dumps(results))


if __name__ == "__main__":
    main()
