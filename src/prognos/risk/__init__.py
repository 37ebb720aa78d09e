"""How a model's features become a risk: head, loss, risk and survival curve of each survival model together."""

from prognos.risk.cox import CoxHead
from prognos.risk.discrete import DiscreteHead
from prognos.risk.marginal import MarginalHead

__all__ = ["CoxHead", "DiscreteHead", "MarginalHead", "survival_head"]


def survival_head(kind: str, d_in: int, *, n_bins: int = 4, censored_weight: float = 1.0) -> CoxHead | DiscreteHead:
    """The head called `cox` or `discrete`, on features of width `d_in`; bins and the weight of the censored are the discrete one's.

    Raises:
        ValueError: the kind is neither.
    """
    if kind == "cox":
        return CoxHead(d_in)
    if kind == "discrete":
        return DiscreteHead(d_in, n_bins, censored_weight=censored_weight)
    raise ValueError(f"no survival model is called {kind!r}; choose 'cox' or 'discrete'.")
