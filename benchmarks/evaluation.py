"""How fast metrics come, beside what others do: `python -m benchmarks.evaluation [--json]`.

Extraction of Inception's features against torch-fidelity's own loop, FID from moments against
`scipy.linalg.sqrtm` and torch-fidelity's formula, intra-FID of 1,000 classes. All in one run, in
turn, medians.
"""

import argparse
import json

from benchmarks import evaluation_arithmetic, evaluation_extraction
from benchmarks.evaluation_arithmetic import (
    DIM,
    GENERATED_PER_CLASS,
    NUM_CLASSES,
    REAL_PER_CLASS,
)


def show(result: dict[str, float], repeats: int) -> None:
    """Prints the table."""
    print(f"{DIM} features, medians of {repeats} rounds")
    for key, what in (
        ("fid", "FID from moments, real factor cached"),
        ("torch_fidelity", "torch-fidelity: eigenvalues of the product"),
        ("sqrtm", "scipy.linalg.sqrtm of the product"),
        ("factor", "the real factor, once for each data set"),
        (
            "intra_fid",
            f"intra-FID: {NUM_CLASSES} x {GENERATED_PER_CLASS} generated, {REAL_PER_CLASS} real",
        ),
    ):
        print(f"  {what:<48} {result[f'{key}_seconds']:8.2f} s")
    print(f"  {'FID against sqrtm':<48} {result['fid_vs_sqrtm']:8.1f}x")
    print(f"  {'FID against torch-fidelity':<48} {result['fid_vs_torch_fidelity']:8.1f}x")
    print(f"  {'relative difference from sqrtm':<48} {result['fid_difference']:8.1e}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=3, help="rounds; medians are shown")
    parser.add_argument("--images", type=int, default=64, help="images to extract features of")
    parser.add_argument("--json", action="store_true", help="end with one JSON object")
    arguments = parser.parse_args()

    result = evaluation_arithmetic.measure(rounds=arguments.repeats)
    show(result, arguments.repeats)
    extraction = evaluation_extraction.measure(arguments.images, arguments.repeats)
    print(f"Inception, {arguments.images} images of 128x128, medians of {arguments.repeats} rounds")
    for key, value in extraction.items():
        print(f"  {key.replace('_', ' '):<48} {value:10.4g}")
    if arguments.json:
        print(json.dumps({**extraction, **result}))


if __name__ == "__main__":
    main()
