"""A loss and a regulariser for pytorch-metric-learning."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from align_uniform import _checks as checks
from align_uniform._extras import needs
from align_uniform.functional import align_loss, uniform_loss

with needs("metric-learning"):
    from pytorch_metric_learning.losses import BaseMetricLossFunction
    from pytorch_metric_learning.regularizers import BaseRegularizer
    from pytorch_metric_learning.utils.loss_and_miner_utils import convert_to_pairs

__all__ = ["AlignUniformLoss", "UniformityRegularizer"]


class AlignUniformLoss(BaseMetricLossFunction):
    r"""The weighted sum of alignment and uniformity, of classes or of two views.

    With labels, rows of one label are positive pairs, and uniformity is over the pairs of different labels:

    .. math:: w_a E_{c_i = c_j, i \neq j} \lVert x_i - x_j \rVert^\alpha
              + w_u \log E_{c_i \neq c_j} e^{-t \lVert x_i - x_j \rVert^2}

    With `ref_emb`, both are over the pairs of a row of the embeddings with a row of the references. With
    `ref_emb` and no labels, row i of each are the two views of an item, and uniformity is the mean of that of
    either view, as in `align_uniform.AlignUniformLoss`. A miner chooses the positive pairs alone. Embeddings
    are divided by their norms. A batch without positive pairs, or without other pairs, has 0 for that term.

    Args:
        align_weight: w_a.
        uniform_weight: w_u.
        alpha: the exponent of the distance in the alignment.
        t: the inverse squared width of the Gaussian in the uniformity.
        **kwargs: `reducer`, `embedding_regularizer` and other arguments of `BaseMetricLossFunction`.

    Raises:
        ValueError: alpha or t is not above 0, or a `distance` is given: the loss has its own.

    Example:
        >>> import torch
        >>> from align_uniform.integrations.metric_learning import AlignUniformLoss
        >>> loss = AlignUniformLoss(uniform_weight=0.5)
        >>> x = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]])
        >>> loss(x, torch.tensor([0, 0, 1]))  # 2 + 0.5 log of the mean of exp(-4) and exp(-8)
        tensor(-0.3375)

    Reference:
        Wang & Isola, ICML 2020, arXiv 2005.10242, section 5.
    """

    def __init__(
        self,
        align_weight: float = 1,
        uniform_weight: float = 1,
        alpha: float = 2,
        t: float = 2,
        **kwargs: Any,
    ) -> None:
        if "distance" in kwargs:
            raise ValueError("AlignUniformLoss has a distance of its own; leave out distance.")
        super().__init__(**kwargs)
        self.align_weight, self.uniform_weight = align_weight, uniform_weight
        self.alpha, self.t = checks.check_positive("alpha", alpha), checks.check_positive("t", t)
        self.add_to_recordable_attributes(
            list_of_names=["align_weight", "uniform_weight", "alpha", "t"], is_stat=False
        )

    def compute_loss(
        self,
        embeddings: Tensor,
        labels: Tensor | None,
        indices_tuple: tuple[Tensor, ...] | None,
        ref_emb: Tensor,
        ref_labels: Tensor | None,
    ) -> dict[str, dict[str, Any]]:
        """Return the two terms as the base class takes them.

        Raises:
            ValueError: there are neither labels nor references, or labels of the one without the other.
        """
        if (labels is None) != (ref_labels is None):
            raise ValueError(
                "labels and ref_labels go together; pass both, or neither for two views in order."
            )
        if labels is None or ref_labels is None:
            align, uniform = self._of_views(embeddings, ref_emb)
        else:
            first, second, *_ = convert_to_pairs(indices_tuple, labels, ref_labels)
            align = self._align(embeddings[first], ref_emb[second])
            uniform = self._between(embeddings, labels, ref_emb, ref_labels)
        return {
            "align_loss": _reduced(self.align_weight * align),
            "uniform_loss": _reduced(self.uniform_weight * uniform),
        }

    def _of_views(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        if x is y:
            raise ValueError(
                "AlignUniformLoss needs positive pairs: pass labels, or the other view as ref_emb."
            )
        of_either = [uniform_loss(view, self.t, normalize=True) for view in (x, y)]
        return self._align(x, y), (of_either[0] + of_either[1]) / 2

    def _align(self, x: Tensor, y: Tensor) -> Tensor:
        return align_loss(x, y, self.alpha, normalize=True) if len(x) else x.sum() * 0

    def _between(self, x: Tensor, labels: Tensor, y: Tensor, ref_labels: Tensor) -> Tensor:
        """Return the uniformity over the pairs of different labels."""
        if not bool((labels[:, None] != ref_labels).any()):
            return x.sum() * 0
        if x is y:
            return uniform_loss(x, self.t, ids=labels, normalize=True)
        return uniform_loss(
            x, self.t, negatives=y, intra_batch=False, ids=labels, negative_ids=ref_labels, normalize=True
        )

    def _sub_loss_names(self) -> list[str]:
        return ["align_loss", "uniform_loss"]


class UniformityRegularizer(BaseRegularizer):
    r"""The uniformity of a batch, as `embedding_regularizer` of any loss.

    .. math:: \log E_{i \neq j} e^{-t \lVert x_i - x_j \rVert^2}

    It counts all pairs, of one label or of two, since regularisers get no labels, and is 0 for a single row.
    Embeddings are divided by their norms. `embedding_reg_weight` is its weight.

    Args:
        t: the inverse squared width of the Gaussian.
        **kwargs: the arguments of `BaseRegularizer`.

    Example:
        >>> import torch
        >>> from align_uniform.integrations.metric_learning import UniformityRegularizer
        >>> UniformityRegularizer()(torch.tensor([[1.0, 0.0], [-2.0, 0.0]]))
        tensor(-8.)
        >>> from pytorch_metric_learning.losses import TripletMarginLoss
        >>> loss = TripletMarginLoss(embedding_regularizer=UniformityRegularizer(), embedding_reg_weight=0.1)

    Reference:
        Wang & Isola, ICML 2020, arXiv 2005.10242, section 4.1.2.
    """

    def __init__(self, t: float = 2, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.t = checks.check_positive("t", t)
        self.add_to_recordable_attributes(name="t", is_stat=False)

    def compute_loss(self, x: Tensor) -> dict[str, dict[str, Any]]:
        """Return the uniformity as the base class takes it."""
        uniform = uniform_loss(x, self.t, normalize=True) if len(x) > 1 else 0 * x.sum()
        return {"loss": _reduced(uniform)}


def _reduced(value: Tensor) -> dict[str, Any]:
    """Return a term that is a mean already."""
    return {"losses": value, "indices": None, "reduction_type": "already_reduced"}
