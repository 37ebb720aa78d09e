"""Which (data type, gene) feature stands where: in the flat vector, and in each pathway's token."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Int

KINDS: tuple[str, ...] = ("rna", "cnv", "snv")
"""The data types that have a scaling rule, in the order of the flat vector."""


@dataclass(frozen=True)
class OmicsSchema:
    """The places of omics features; a gene's RNA, copy number and mutation are features of their own.

    Genes are selected by the gene set's membership and never by value: a true zero (no mutation) keeps its place.

    Args:
        kinds: the data types that are read.
        features: (data type, gene) of each place of the flat vector, one data type after the other.
        pathways: the gene sets of which at least one gene was measured.
        members: for each pathway, the places of its features in `features`.
        set_sizes: number of genes of each set as given, in the order given, unmeasured sets included.
    """

    kinds: tuple[str, ...]
    features: tuple[tuple[str, str], ...]
    pathways: tuple[str, ...] = ()
    members: tuple[tuple[int, ...], ...] = ()
    set_sizes: tuple[tuple[str, int], ...] = ()

    @classmethod
    def build(
        cls, tables: Mapping[str, pd.DataFrame], kinds: Sequence[str], gene_set: Mapping[str, Sequence[str]] | None = None
    ) -> "OmicsSchema":
        """The schema of tables (patients x genes); without gene sets, every gene of the tables is a feature.

        With gene sets, the features are the genes that at least one set names and a table has. Inside a pathway they
        stand by data type, then in the order of the gene set.

        Raises:
            ValueError: a data type that is unknown or not there, a gene with two columns, no gene of any set found.
        """
        kinds = tuple(kinds)
        _check(tables, kinds)
        if gene_set is None:
            return cls(kinds, tuple((kind, str(gene)) for kind in kinds for gene in tables[kind].columns))
        named = {gene for genes in gene_set.values() for gene in genes}
        features = tuple((kind, str(gene)) for kind in kinds for gene in tables[kind].columns if gene in named)
        if not features:
            shown = ", ".join(sorted(named)[:3])
            raise ValueError(
                f"none of the {len(named)} genes of {len(gene_set)} gene sets ({shown}, ...) is a column of {', '.join(kinds)}: "
                "both must use the same gene names; give gene sets with the symbols of the tables."
            )
        place = {feature: position for position, feature in enumerate(features)}
        members = {
            pathway: tuple(place[kind, gene] for kind in kinds for gene in dict.fromkeys(genes) if (kind, gene) in place)
            for pathway, genes in gene_set.items()
        }
        found = {pathway: places for pathway, places in members.items() if places}
        sizes = tuple((pathway, len(set(genes))) for pathway, genes in gene_set.items())
        return cls(kinds, features, tuple(found), tuple(found.values()), sizes)

    @cached_property
    def index(self) -> Int[np.ndarray, "pathways widest"]:
        """Place of each pathway's features in the flat vector; -1 is padding behind the last one."""
        widest = max(map(len, self.members), default=0)
        index = np.full((len(self.members), widest), -1, dtype=np.int64)
        for row, places in zip(index, self.members, strict=True):
            row[: len(places)] = places
        return index

    @property
    def widths(self) -> tuple[int, ...]:
        """Number of features of each pathway."""
        return tuple(map(len, self.members))

    @property
    def unmeasured(self) -> tuple[str, ...]:
        """Gene sets that were given and have no gene in any table; no token is made of them."""
        return tuple(pathway for pathway, _ in self.set_sizes if pathway not in set(self.pathways))

    def places(self, kind: str) -> slice:
        """Where the features of a data type stand in the flat vector."""
        kinds = [feature_kind for feature_kind, _ in self.features]
        first = kinds.index(kind) if kind in kinds else 0
        return slice(first, first + kinds.count(kind))

    def genes(self, kind: str) -> tuple[str, ...]:
        """The genes of a data type, in the order of the flat vector."""
        return tuple(gene for feature_kind, gene in self.features if feature_kind == kind)

    def coverage(self) -> pd.DataFrame:
        """How much of each gene set was measured.

        One row a gene set (index `gene_set`, unmeasured ones included): `genes` in the set, `found` in at least one
        data type, `share` = found / genes, and the number found in each data type under its name.
        """
        members = dict(zip(self.pathways, self.members, strict=True))
        rows = []
        for pathway, size in self.set_sizes:
            found = [self.features[place] for place in members.get(pathway, ())]
            n_found = len({gene for _, gene in found})
            by_kind = {kind: sum(feature_kind == kind for feature_kind, _ in found) for kind in self.kinds}
            rows.append({"gene_set": pathway, "genes": size, "found": n_found, "share": n_found / size, **by_kind})
        return pd.DataFrame(rows, columns=["gene_set", "genes", "found", "share", *self.kinds]).set_index("gene_set")

    def state(self) -> dict[str, Any]:
        """This schema in JSON's types; order is in lists, which a file may not sort."""
        return {
            "kinds": list(self.kinds),
            "genes": [list(self.genes(kind)) for kind in self.kinds],
            "pathways": list(self.pathways),
            "members": [list(places) for places in self.members],
            "set_sizes": [list(size) for size in self.set_sizes],
        }

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> "OmicsSchema":
        """The schema that `state` was taken of."""
        return cls(
            kinds=tuple(state["kinds"]),
            features=tuple((kind, gene) for kind, genes in zip(state["kinds"], state["genes"], strict=True) for gene in genes),
            pathways=tuple(state["pathways"]),
            members=tuple(tuple(places) for places in state["members"]),
            set_sizes=tuple((pathway, size) for pathway, size in state["set_sizes"]),
        )


def _check(tables: Mapping[str, pd.DataFrame], kinds: tuple[str, ...]) -> None:
    """Refuse data types that cannot be read."""
    if not kinds:
        raise ValueError(
            f"no omics data type was named; the tables are {', '.join(tables) or 'none'}, name one or more of {', '.join(KINDS)}."
        )
    unknown = [kind for kind in kinds if kind not in KINDS]
    if unknown:
        raise ValueError(
            f"no scaling rule for the omics data type {unknown[0]!r}; known: {', '.join(KINDS)}. "
            "Name other tables under [modalities] instead."
        )
    absent = [kind for kind in kinds if kind not in tables]
    if absent:
        raise ValueError(
            f"the cohort has no {absent[0]!r} table; it has {', '.join(tables) or 'none'}. "
            f"Add {absent[0]}.csv, or leave it out of the kinds."
        )
    for kind in kinds:
        repeated = tables[kind].columns[tables[kind].columns.duplicated()].unique()
        if len(repeated):
            raise ValueError(
                f"{len(repeated)} genes have more than one column in {kind} ({', '.join(map(str, repeated[:3]))}): keep one column a gene."
            )
