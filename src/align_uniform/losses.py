"""The losses as modules: options go to the constructor, tensors to `forward`."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from align_uniform import _checks as checks
from align_uniform.functional import align_loss, contrastive_loss, uniform_loss
from align_uniform.wasserstein import w2_loss


class AlignLoss(nn.Module):
    """The loss `align_loss` as a module; see there for the options.

    Example:
        >>> import torch
        >>> from align_uniform import AlignLoss
        >>> loss = AlignLoss(alpha=1, normalize=False)
        >>> loss
        AlignLoss(alpha=1, normalize=False)
        >>> loss(torch.tensor([[3.0, 4.0]]), torch.tensor([[0.0, 0.0]]))
        tensor(5.)
    """

    def __init__(
        self,
        alpha: float = 2,
        *,
        normalize: bool | None = None,
        reduction: str = "mean",
        gather_distributed: bool = False,
    ) -> None:
        super().__init__()
        checks.check_positive("alpha", alpha)
        checks.check_choice("reduction", reduction, ("mean", "none"))
        self.alpha = alpha
        self.normalize = normalize
        self.reduction = reduction
        self.gather_distributed = gather_distributed

    def forward(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        """Return `align_loss(x, y)` of two views, [..., N, m] each, or of all views in x, [..., V, N, m]."""
        return align_loss(
            x,
            y,
            self.alpha,
            normalize=self.normalize,
            reduction=self.reduction,
            gather_distributed=self.gather_distributed,
        )

    def extra_repr(self) -> str:
        """Return the options that differ from the defaults."""
        return _options(self, alpha=None, normalize=None, reduction="mean", gather_distributed=False)


class UniformLoss(nn.Module):
    """The loss `uniform_loss` as a module; see there for the options.

    Example:
        >>> import torch
        >>> from align_uniform import UniformLoss
        >>> UniformLoss(t=0.5)(torch.tensor([[1.0, 0.0], [-1.0, 0.0]]))
        tensor(-2.)
    """

    def __init__(
        self,
        t: float = 2,
        *,
        intra_batch: bool = True,
        normalize: bool | None = None,
        gather_distributed: bool = False,
    ) -> None:
        super().__init__()
        checks.check_positive("t", t)
        self.t = t
        self.intra_batch = intra_batch
        self.normalize = normalize
        self.gather_distributed = gather_distributed

    def forward(
        self,
        x: Tensor,
        negatives: Tensor | None = None,
        *,
        ids: Tensor | None = None,
        negative_ids: Tensor | None = None,
    ) -> Tensor:
        """Return `uniform_loss(x)` of [..., N, m], and of its pairs with [..., M, m] negatives if given."""
        return uniform_loss(
            x,
            self.t,
            negatives=negatives,
            intra_batch=self.intra_batch,
            ids=ids,
            negative_ids=negative_ids,
            normalize=self.normalize,
            gather_distributed=self.gather_distributed,
        )

    def extra_repr(self) -> str:
        """Return the options that differ from the defaults."""
        return _options(self, t=None, intra_batch=True, normalize=None, gather_distributed=False)


class ContrastiveLoss(nn.Module):
    """The loss `contrastive_loss` as a module; see there for the options.

    `tau` may be an `nn.Parameter` of no dimensions: it is then a parameter of the module, and learned.

    Example:
        >>> import torch
        >>> from align_uniform import ContrastiveLoss
        >>> ContrastiveLoss(tau=0.5)(torch.eye(2), torch.eye(2))
        tensor(0.1269)
    """

    def __init__(
        self, tau: float | Tensor, *, normalize: bool | None = None, gather_distributed: bool = False
    ) -> None:
        super().__init__()
        checks.check_temperature(tau)
        self.tau = tau
        self.normalize = normalize
        self.gather_distributed = gather_distributed

    def forward(
        self,
        x: Tensor,
        y: Tensor,
        negatives: Tensor | None = None,
        *,
        ids: Tensor | None = None,
        negative_ids: Tensor | None = None,
    ) -> Tensor:
        """Return `contrastive_loss(x, y)` of two views, [..., N, m] each; negatives are [..., K, m]."""
        return contrastive_loss(
            x,
            y,
            self.tau,
            negatives=negatives,
            ids=ids,
            negative_ids=negative_ids,
            normalize=self.normalize,
            gather_distributed=self.gather_distributed,
        )

    def extra_repr(self) -> str:
        """Return the options that differ from the defaults."""
        return _options(self, tau=None, normalize=None, gather_distributed=False)


class W2Loss(nn.Module):
    """The loss `w2_loss` as a module; see there for the options.

    Example:
        >>> import torch
        >>> from align_uniform import W2Loss
        >>> W2Loss(normalize=True)(torch.tensor([[5.0, 0.0], [-2.0, 0.0]]))
        tensor(0.7654)
    """

    def __init__(self, *, normalize: bool | None = None, gather_distributed: bool = False) -> None:
        super().__init__()
        self.normalize = normalize
        self.gather_distributed = gather_distributed

    def forward(self, x: Tensor) -> Tensor:
        """Return `w2_loss(x)` of [..., N, m]."""
        return w2_loss(x, normalize=self.normalize, gather_distributed=self.gather_distributed)

    def extra_repr(self) -> str:
        """Return the options that differ from the defaults."""
        return _options(self, normalize=None, gather_distributed=False)


class Terms(NamedTuple):
    """The result of `AlignUniformLoss.terms`: scalars, to differentiate or to log."""

    total: Tensor
    """The weighted sum of the terms."""
    align: Tensor
    """The alignment loss, not weighted."""
    uniform: Tensor
    """The uniformity loss, not weighted."""
    contrastive: Tensor | None = None
    """The contrastive loss, not weighted; None if its weight is 0."""


class AlignUniformLoss(nn.Module):
    r"""The objective of the paper, to train an encoder with: alignment, uniformity, and the contrastive loss.

    .. math:: w_a L_{align}(x, y; \alpha) + w_u \frac{L_{uniform}(x; t) + L_{uniform}(y; t)}{2}
              + w_c L_{contrastive}(x, y; \tau)

    With negatives, as in MoCo, it is the loss of x alone, whose rows are kept away from each other and from
    the negatives:

    .. math:: w_a L_{align}(x, y; \alpha) + w_u L_{uniform}(x, negatives; t)
              + w_c L_{contrastive}(x, y, negatives; \tau)

    The contrastive loss is computed only if it has a weight. The other two are always computed, to be logged;
    a term whose weight is 0 carries no gradient.

    Args:
        align_weight: w_a.
        uniform_weight: w_u.
        alpha: exponent of the distance in the alignment.
        t: inverse squared width of the Gaussian in the uniformity.
        contrastive_weight: w_c.
        tau: temperature of the contrastive loss; an `nn.Parameter` is learned.
        intra_batch: count the pairs within x in the uniformity, too, if there are negatives.
        normalize: divide the rows by their norm first; by default they are taken as they are, with a warning
            if they are far from unit norm.
        gather_distributed: the value of the pairs of all processes together; see `uniform_loss`.

    Example:
        >>> import torch
        >>> from align_uniform import AlignUniformLoss
        >>> x, y = torch.tensor([[1.0, 0.0], [-1.0, 0.0]]), torch.tensor([[0.0, 1.0], [-1.0, 0.0]])
        >>> criterion = AlignUniformLoss(uniform_weight=0.5)
        >>> criterion(x, y)
        tensor(-2.)
        >>> criterion.terms(x, y)
        Terms(total=tensor(-2.), align=tensor(1.), uniform=tensor(-6.), contrastive=None)
        >>> queue = torch.tensor([[0.0, -1.0], [0.0, 1.0], [-1.0, 0.0]])  # of MoCo
        >>> AlignUniformLoss(3, contrastive_weight=1, tau=0.07)(x, y, queue)
        tensor(2.0213)

    Reference:
        Wang & Isola, ICML 2020, arXiv 2005.10242, section 5 and appendix B.2 (negatives).
    """

    def __init__(
        self,
        align_weight: float = 1,
        uniform_weight: float = 1,
        alpha: float = 2,
        t: float = 2,
        *,
        contrastive_weight: float = 0,
        tau: float | Tensor = 0.5,
        intra_batch: bool = True,
        normalize: bool | None = None,
        gather_distributed: bool = False,
    ) -> None:
        super().__init__()
        shared: dict[str, Any] = {"normalize": normalize, "gather_distributed": gather_distributed}
        self.align_weight = align_weight
        self.uniform_weight = uniform_weight
        self.contrastive_weight = contrastive_weight
        self.align = AlignLoss(alpha, **shared)
        self.uniform = UniformLoss(t, intra_batch=intra_batch, **shared)
        self.contrastive = ContrastiveLoss(tau, **shared)

    def forward(
        self,
        x: Tensor,
        y: Tensor,
        negatives: Tensor | None = None,
        *,
        ids: Tensor | None = None,
        negative_ids: Tensor | None = None,
    ) -> Tensor:
        """Return the weighted sum for two views, [..., N, m] each, with [..., M, m] negatives if given.

        Pairs of rows with the same id, [N] and [M] integers, are no negatives; see `uniform_loss`.
        """
        return self.terms(x, y, negatives, ids=ids, negative_ids=negative_ids).total

    def terms(
        self,
        x: Tensor,
        y: Tensor,
        negatives: Tensor | None = None,
        *,
        ids: Tensor | None = None,
        negative_ids: Tensor | None = None,
    ) -> Terms:
        """Return the weighted sum and its terms, not weighted; the arguments are those of `forward`."""
        told = {"ids": ids, "negative_ids": negative_ids}
        with _gradient_if(self.align_weight):
            align = self.align(x, y)
        with _gradient_if(self.uniform_weight):
            if negatives is None:
                uniform = (self.uniform(x, **told) + self.uniform(y, **told)) / 2
            else:
                uniform = self.uniform(x, negatives, **told)
        total = self.align_weight * align + self.uniform_weight * uniform
        if not self.contrastive_weight:
            return Terms(total, align, uniform)
        contrastive = self.contrastive(x, y, negatives, **told)
        return Terms(total + self.contrastive_weight * contrastive, align, uniform, contrastive)

    def extra_repr(self) -> str:
        """Return the weights; the modules of the terms show the rest."""
        weights = f"align_weight={self.align_weight}, uniform_weight={self.uniform_weight}"
        return weights + f", contrastive_weight={self.contrastive_weight}"


def _gradient_if(weight: float) -> AbstractContextManager[object]:
    """Compute without a gradient if a weight is 0."""
    return nullcontext() if weight else torch.no_grad()


def _options(module: nn.Module, **defaults: object) -> str:
    """Return `name=value` for each option that is not at its default."""
    values = {name: getattr(module, name) for name in defaults}
    return ", ".join(f"{name}={value!r}" for name, value in values.items() if value != defaults[name])
