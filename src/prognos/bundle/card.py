"""The model card of a bundle: what it is for, what it was fitted on, what is known of it and what is not."""

from collections.abc import Mapping
from typing import Any

import jinja2

from prognos.bundle.manifest import FORMAT
from prognos.models import entry_of
from prognos.training import Fitted

METRIC_NAMES = {
    "concordance": "C-index (Harrell)",
    "concordance_ipcw": "C-index (Uno)",
    "auc": "AUC, mean over horizons",
    "integrated_brier": "Brier score, integrated (lower is better)",
    "scaled_brier": "Brier score against Kaplan-Meier (0: no better)",
    "calibration_365d": "calibration error at 1 year (lower is better)",
    "calibration_1095d": "calibration error at 3 years (lower is better)",
    "calibration_1825d": "calibration error at 5 years (lower is better)",
}


def card(described: Mapping[str, Any], fitted: Fitted) -> str:
    """The card as Markdown.

    Args:
        described: the fields of the manifest, but the hashes.
        fitted: one of the models, for its settings.
    """
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("prognos.bundle"),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    entry = entry_of(described["model"])
    needs = fitted.model.needs
    rows = described["held_out"]["rows"]
    own = [row for row in rows if (row["model"], row["variant"]) == (described["model"], described["variant"])]
    return environment.get_template("model-card.md.j2").render(
        about=described,
        label=_label(described),
        format=FORMAT,
        summary=entry.summary,
        paper=entry.paper,
        reads=needs.modalities,
        filled_by=fitted.model.filled_by if fitted.filler is None else f"the training patients ({fitted.filler.policy})",
        years=_years(described["fitted_on"]["median_follow_up_days"]),
        numbers=_numbers(rows),
        lacking=[row for row in own if row["metric"] == "concordance" and row["missing"] != "none" and _reads(row["missing"], needs)],
        calibrated=[row for row in own if row["metric"].startswith("calibration") and row["missing"] == "none" and row["mean"] is not None],
        training={key: value for key, value in fitted.training.model_dump(mode="json").items() if value is not None},
        config=fitted.config.model_dump(mode="json"),
        recalibrated=fitted.recalibration is not None,
        with_interval=_with_interval,
    )


def _label(described: Mapping[str, Any]) -> str:
    variant = described["variant"]
    return described["model"] if variant == "base" else f"{described['model']}@{variant}"


def _numbers(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """One row a metric, one cell a model, of patients as complete as they are."""
    models = dict.fromkeys((row["model"], row["variant"]) for row in rows)
    cells = {(row["metric"], row["model"], row["variant"]): row for row in rows if row["missing"] == "none"}
    table = []
    for metric, name in METRIC_NAMES.items():
        found = [cells.get((metric, *model)) for model in models]
        if any(cell is not None and cell["mean"] is not None for cell in found):
            table.append({"name": name, "cells": {_name(model): _with_interval(cell) for model, cell in zip(models, found, strict=True)}})
    return table


def _name(model: tuple[str, str]) -> str:
    return model[0] if model[1] == "base" else f"{model[0]}@{model[1]}"


def _with_interval(row: Mapping[str, Any] | None) -> str:
    """Mean over folds and its 95% interval, where they are known."""
    if row is None or row["mean"] is None:
        return "not known"
    return f"{row['mean']:.3f}" + ("" if row["low"] is None else f" ({row['low']:.3f} to {row['high']:.3f})")


def _reads(pattern: str, needs: Any) -> bool:
    """Whether a missing pattern takes something that the model reads."""
    return any(part.partition("=")[0] in needs.modalities for part in pattern.split(";"))


def _years(days: float | None) -> str:
    return "not reached" if days is None else f"{days / 365.25:.1f} years"
