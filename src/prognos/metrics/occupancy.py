"""How many prototypes are in use."""

import numpy as np
from jaxtyping import Float

COLLAPSED = 0.95
"""Share of the tokens that one prototype takes first, from which on prototypes say nothing."""


def effective_number(shares: Float[np.ndarray, " prototypes"]) -> float:
    """exp of the entropy of the shares of tokens that prototypes take first: 1 when one takes all, K when all take as much.

    Args:
        shares: not negative, of any positive sum.
    """
    share = np.asarray(shares, dtype=float)
    share = share[share > 0] / share.sum()
    return float(np.exp(-(share * np.log(share)).sum()))
