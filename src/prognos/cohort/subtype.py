"""The tumour's subtype: the column that it is read from, the classes that it has, and how they lie in folds."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Int

from prognos.cohort.defects import THREE, Defect, naming, nearest
from prognos.cohort.tables import EMPTY

COLUMN = "subtype"


@dataclass(frozen=True)
class SubtypeRule:
    """Which column holds the subtype, and which of its labels are classes.

    Args:
        column: of clinical.csv; `subtype`, where there is one, when it is None.
        classes: in this order; every label that occurs, sorted, when it is empty.
        merge: class -> labels that become it.
    """

    column: str | None = None
    classes: tuple[str, ...] = ()
    merge: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def became(self) -> dict[str, str]:
        """Label -> the class that it becomes."""
        return {label: name for name, labels in self.merge.items() for label in labels}

    def over(self, said: "SubtypeRule") -> "SubtypeRule":
        """This rule, and where it leaves something open, what cohort.toml says of the same column.

        Where this rule names classes and no merge, only those merges of cohort.toml count that make one of them.
        """
        if self.column not in (None, said.column or COLUMN):
            return self
        merge = self.merge or said.merge
        if self.classes and not self.merge:
            merge = {name: labels for name, labels in merge.items() if {name, *labels} & set(self.classes)}
        return SubtypeRule(self.column or said.column, self.classes or said.classes, merge)

    def stated(self) -> tuple[str, ...]:
        """The classes that are named, merged and each once, then those that a merge makes; none when all labels are classes."""
        return tuple(dict.fromkeys([*(self.became.get(label, label) for label in self.classes), *self.merge])) if self.classes else ()


def read_labels(text: pd.DataFrame, asked: SubtypeRule, said: SubtypeRule, table: str, defects: list[Defect]) -> pd.Series | None:
    """Merged labels of every patient, None where the cell is empty, under the name of their column; None where nobody has one.

    Args:
        text: clinical.csv.
        asked: by the caller; counts above what is said.
        said: by cohort.toml.
        table: name of the file.
        defects: what is wrong is added here.
    """
    rule = asked.over(said)
    stated = bool(rule.classes or rule.merge)
    column = rule.column or (COLUMN if COLUMN in text or stated else None)
    if column is None or not len(text):
        return None
    if column not in text:
        what = f"there is no column {column!r} for the subtype ({nearest(column, map(str, text.columns))})"
        defects.append(Defect(what, table, "name a column that is there: subtype under [cohort]"))
        return None
    labels = text[column].str.strip()
    labels = labels.where(~labels.isin(EMPTY), None)
    if labels.isna().all() and not stated:
        return None
    where = {
        key: f"{'' if getattr(asked, key) else 'cohort.toml, [cohort] '}{name}; column {column}"
        for key, name in (("classes", "subtype_classes"), ("merge", "merge"))
    }
    defects.extend(_contradictions(rule, where))
    defects.extend(_unknown_labels(rule, sorted(labels.dropna().unique()), where))
    return labels.map(lambda label: rule.became.get(label, label), na_action="ignore")


def _contradictions(rule: SubtypeRule, where: Mapping[str, str]) -> Iterable[Defect]:
    if twice := sorted({repr(label) for label in rule.classes if rule.classes.count(label) > 1}):
        yield Defect(f"{naming(twice)} is named more than once", where["classes"], "name each class once")
    merged = [label for labels in rule.merge.values() for label in labels]
    if twice := sorted({repr(label) for label in merged if merged.count(label) > 1}):
        yield Defect(f"{naming(twice)} is merged more than once", where["merge"], "merge each label into one class")
    if empty := [repr(name) for name, labels in rule.merge.items() if not labels]:
        yield Defect(f"nothing becomes {naming(empty)}", where["merge"], "name the labels that become this class, or remove it")


def _unknown_labels(rule: SubtypeRule, there: list[str], where: Mapping[str, str]) -> Iterable[Defect]:
    named = {"classes": rule.classes, "merge": tuple(rule.became)}
    for key, labels in named.items():
        if unknown := [label for label in labels if label not in there and label not in rule.merge]:
            what = f"no patient has the subtype {naming(map(repr, unknown))} ({nearest(unknown[0], there)})"
            yield Defect(what, where[key], "correct the label")


def with_classes(labels: pd.Series, stated: tuple[str, ...]) -> tuple[pd.Series | None, tuple[str, ...], tuple[str, ...]]:
    """Labels that are a class and None for the others, the classes, and notes; no labels and no classes where nobody has one.

    Args:
        labels: of the kept patients.
        stated: the classes in order; all labels that occur, sorted, when it is empty.
    """
    classes = stated or tuple(sorted(labels.dropna().unique()))
    known = labels.where(labels.isin(classes), None)
    notes: tuple[str, ...] = ()
    if len(others := labels[labels.notna() & known.isna()]):
        told = naming(f"{label!r} of {count}" for label, count in others.value_counts().items())
        notes = (f"{labels.name}: {len(others)} labels are not among the classes and count as missing ({told}).",)
    return (None, (), notes) if known.isna().all() else (known, classes, notes)


@dataclass(frozen=True, eq=False)
class Classes:
    """The class of each patient.

    Args:
        names: the classes.
        index: of each patient, into the names; -1 where unknown.
    """

    names: tuple[str, ...]
    index: Int[np.ndarray, " patients"]

    @classmethod
    def of(cls, cohort: Any) -> "Classes | None":
        """Those of a cohort; None where it has none."""
        names = tuple(getattr(cohort, "subtype_classes", ()))
        return cls(names, np.asarray(cohort.subtype_index)) if names else None

    def counted(self, group: np.ndarray) -> pd.DataFrame:
        """Patients of each class (columns) in each group of patients (rows)."""
        names, groups = np.unique(group, return_inverse=True)
        counts = np.zeros((len(names), len(self.names)), dtype=np.int64)
        known = self.index >= 0
        np.add.at(counts, (groups[known], self.index[known]), 1)
        return pd.DataFrame(counts, index=names, columns=list(self.names))

    def note(self, fold: np.ndarray) -> str:
        """How many patients of each class a fold tests, at least and at most."""
        counts = self.counted(fold)
        return "a fold tests " + ", ".join(f"{counts[name].min()} to {counts[name].max()} {name}" for name in self.names)

    def warnings(self, fold: np.ndarray) -> tuple[str, ...]:
        """Which classes are not tested in which folds, as one sentence; nothing when every fold tests every class."""
        counts = self.counted(fold)
        lacking = {name: counts.index[counts[name] == 0].tolist() for name in self.names if (counts[name] == 0).any()}
        if not lacking:
            return ()
        told = [f"{name} is absent from {'folds' if len(folds) > 1 else 'fold'} {naming(folds)}" for name, folds in lacking.items()]
        more = f"; and {len(told) - THREE} more" if len(told) > THREE else ""
        return (f"not every fold tests every class ({'; '.join(told[:THREE])}{more}): metrics of the subtype cover the classes present.",)
