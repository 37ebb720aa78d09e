"""A run folder as one self-contained HTML page; one figure, one file."""

from prognos.report.build import build

__all__ = ["build"]
