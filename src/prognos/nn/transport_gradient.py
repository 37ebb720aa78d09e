"""The gradient of a transport plan for its cost, by differentiating the fixed point of Eq. 54."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable

from prognos.nn.transport_marginals import Marginals, jacobian


class PlanGradient(torch.autograd.Function):
    """Hands a solved plan and its sink on, and gives their gradient to the cost.

    With the sink as column 0 of cost 0, Q_ij = a softmax_j(log v_j - C_ij / epsilon), and log v solves

        F_j = sum_i Q_ij - b_j v_j^(-epsilon / gamma) = 0,   F_0 = sum_i Q_i0 - (1 - rho) = 0.

    Its Jacobian H is symmetric, K + 1 wide. For an incoming gradient D of Q, the adjoint lambda = H^-1 (dL / d log v)
    turns the gradient at fixed log v into the whole one by replacing D with D - lambda, column by column.
    """

    @staticmethod
    def forward(
        ctx: Any,
        cost: Float[Tensor, "batch tokens prototypes"],
        plan: Float[Tensor, "batch tokens prototypes"],
        sink: Float[Tensor, "batch tokens"],
        marginals: Marginals,
        epsilon: float,
    ) -> tuple[Float[Tensor, "batch tokens prototypes"], Float[Tensor, "batch tokens"]]:
        """The plan and the sink as they are."""
        ctx.save_for_backward(plan, sink)
        ctx.marginals, ctx.epsilon, ctx.cost_dtype = marginals, epsilon, cost.dtype
        return plan.view_as(plan), sink.view_as(sink)

    @staticmethod
    @once_differentiable
    def backward(
        ctx: Any,
        plan_gradient: Float[Tensor, "batch tokens prototypes"],
        sink_gradient: Float[Tensor, "batch tokens"],
    ) -> tuple[Float[Tensor, "batch tokens prototypes"], None, None, None, None]:
        """The gradient of the cost."""
        plan, sink = ctx.saved_tensors
        n_tokens = torch.from_numpy(ctx.marginals.n_tokens).to(plan)[:, None]

        def centred(of_plan: Tensor, of_sink: Tensor) -> tuple[Tensor, Tensor]:
            """Q (D - row mean of D), for the prototypes and for the sink."""
            mean = n_tokens * ((plan * of_plan).sum(dim=2) + sink * of_sink)
            return plan * (of_plan - mean[:, :, None]), sink * (of_sink - mean)

        prototypes, beside = centred(plan_gradient, sink_gradient)
        pull = torch.cat([beside.sum(dim=1, keepdim=True), prototypes.sum(dim=1)], dim=1)
        adjoint = torch.linalg.solve(jacobian(plan, sink, ctx.marginals), pull.double()).to(plan.dtype)
        prototypes, _ = centred(plan_gradient - adjoint[:, None, 1:], sink_gradient - adjoint[:, :1])
        return (prototypes / -ctx.epsilon).to(ctx.cost_dtype), None, None, None, None
