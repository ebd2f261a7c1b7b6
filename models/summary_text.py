"""A system's summary as tables for the terminal."""

from collections.abc import Sequence
from typing import Any


def summary_text(summary: dict[str, Any]) -> str:
    """The text of what `models.summary` prints without --json."""
    side = summary["resolution"]
    lines = [
        f"{summary['variant']} at {side}x{side}, {summary['classes']} classes, "
        f"width {summary['width']}, {summary['precision']}"
    ]
    for network in ("generator", "discriminator"):
        lines += ["", *_table(network, summary[network])]
    return "\n".join([*lines, "", *_totals(summary)])


def _table(name: str, network: dict[str, Any]) -> list[str]:
    rows = [(name, "kind", "output", "parameters", "multiply-adds")]
    for layer in network["layers"]:
        shape = "x".join(str(side) for side in layer["output_shape"])
        rows.append(
            (layer["name"], layer["kind"], shape, f"{layer['parameters']:,}", f"{layer['macs']:,}")
        )
    rows.append(("total", "", "", f"{network['parameters']:,}", f"{network['macs']:,}"))
    widths = [max(len(row[i]) for row in rows) for i in range(5)]
    return [
        "  ".join(
            cell.ljust(width) if i < 3 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    ]


def _totals(summary: dict[str, Any]) -> list[str]:
    ratio = "1:1" if summary["d_steps"] == 1 else f"{summary['d_steps']} updates of D for each of G"
    parameters = sum(summary[name]["parameters"] for name in ("generator", "discriminator"))
    state = ("weight", "gradient", "optimizer_state", "ema")
    rows = [
        ("parameters", f"{parameters:,}"),
        (f"FLOPs an image a step ({ratio})", _scaled(summary["flops_per_image_step"], _FLOPS)),
        ("  as executed", _scaled(summary["executed_flops_per_image_step"], _FLOPS)),
        ("  and for each step", _scaled(summary["executed_flops_constant_per_step"], _FLOPS)),
        ("activation memory an image", _scaled(summary["activation_bytes_per_image"], _BYTES)),
        ("  D's update", _scaled(summary["activation_bytes_per_image_d_update"], _BYTES)),
        ("  G's update", _scaled(summary["activation_bytes_per_image_g_update"], _BYTES)),
        (
            "  the larger, with fused attention",
            _scaled(summary["activation_bytes_per_image_fused_attention"], _BYTES),
        ),
        (
            "weights, gradients, Adam's moments, average",
            _scaled(sum(summary[f"{kind}_bytes"] for kind in state), _BYTES),
        ),
        ("normalised weights", _scaled(summary["activation_bytes_constant"], _BYTES)),
    ]
    if "batch" in summary:
        at = f"memory at {summary['batch']} images at once"
        rows += [
            (at, _scaled(summary["memory_bytes"], _BYTES)),
            ("  with fused attention", _scaled(summary["memory_bytes_fused_attention"], _BYTES)),
        ]
    width = max(len(label) for label, _ in rows)
    return [f"{label.ljust(width)}  {value}" for label, value in rows]


_FLOPS = ("FLOP", "kFLOP", "MFLOP", "GFLOP", "TFLOP", "PFLOP", "EFLOP")
_BYTES = ("B", "kB", "MB", "GB", "TB", "PB", "EB")


def _scaled(value: int, units: Sequence[str]) -> str:
    """Powers of 1000, four figures."""
    scaled, index = float(value), 0
    while scaled >= 1000 and index < len(units) - 1:
        scaled, index = scaled / 1000, index + 1
    return f"{scaled:.4g} {units[index]}"
