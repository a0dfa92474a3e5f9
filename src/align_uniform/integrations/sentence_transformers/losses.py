"""Losses of columns of texts, as the trainer of sentence-transformers calls them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from align_uniform._extras import needs
from align_uniform._messages import counted
from align_uniform._ranks import gather_rows, world_size
from align_uniform.functional import uniform_loss
from align_uniform.integrations.online import OnlineUniformity
from align_uniform.losses import AlignUniformLoss as Objective

with needs("sentence-transformers"):
    from sentence_transformers import SentenceTransformer

CITATION = """
@inproceedings{wang2020hypersphere,
    title={Understanding Contrastive Representation Learning through Alignment and Uniformity on
        the Hypersphere},
    author={Wang, Tongzhou and Isola, Phillip},
    booktitle={International Conference on Machine Learning},
    pages={9929--9939},
    year={2020}
}
"""
"""The entry of the paper that model cards show."""

Features: TypeAlias = Iterable[dict[str, Tensor]]


class AlignUniformLoss(nn.Module):
    r"""The sum of alignment and uniformity, for columns of positive pairs.

    .. math:: w_a L_{align}(x, y; \alpha) + w_u \frac{L_{uniform}(x; t) + L_{uniform}(y; t)}{2}

    The columns are (anchor, positive), and any further ones are negatives. With negatives, uniformity is
    that of the anchors among themselves and with all negatives, as in `align_uniform.AlignUniformLoss`. If
    the data set has whole numbers as labels, they are the items of the rows: rows with one label are not
    pushed apart. Without them a batch must have no text twice, which `BatchSamplers.NO_DUPLICATES` sees to.
    The uniformity of a batch of one row, or of one item, counts as 0.

    Args:
        model: the model to train.
        align_weight: w_a.
        uniform_weight: w_u.
        alpha: the exponent of the distance in the alignment.
        t: the inverse squared width of the Gaussian in the uniformity.
        gather_across_devices: whether the loss is that of the batches of all processes together.
        log_terms: return the two weighted terms by name in place of their sum. The trainer then logs each;
            wrappers such as `MatryoshkaLoss` take a sum alone.
        online: a window that gets the embeddings of each training step, the widest of them if a wrapper
            shortens them. A batch's own uniformity says little; see `OnlineUniformity`.

    Example:
        >>> from align_uniform.integrations.sentence_transformers import AlignUniformLoss
        >>> loss = AlignUniformLoss(model, uniform_weight=0.5)  # doctest: +SKIP
        >>> trainer = SentenceTransformerTrainer(model, train_dataset=pairs, loss=loss)  # doctest: +SKIP

    Reference:
        Wang & Isola, ICML 2020, arXiv 2005.10242, section 5.
    """

    def __init__(
        self,
        model: SentenceTransformer,
        align_weight: float = 1,
        uniform_weight: float = 1,
        alpha: float = 2,
        t: float = 2,
        gather_across_devices: bool = False,
        log_terms: bool = False,
        online: OnlineUniformity | None = None,
    ) -> None:
        super().__init__()
        self.model = model
        self.objective = Objective(
            align_weight,
            uniform_weight,
            alpha,
            t,
            normalize=True,
            gather_distributed=gather_across_devices,
        )
        self.gather_across_devices = gather_across_devices
        self.log_terms = log_terms
        self.online = online

    def forward(
        self, sentence_features: Features, labels: Tensor | None = None
    ) -> Tensor | dict[str, Tensor]:
        """Return the loss of a batch; the trainer calls this.

        Args:
            sentence_features: the tokens of each column: anchors, positives, and any negatives.
            labels: None, or the item of each row, [N] whole numbers.

        Raises:
            ValueError: there is one column alone, or the labels are scores.
        """
        embeddings = [self.model(column)["sentence_embedding"] for column in sentence_features]
        if len(embeddings) < 2:
            raise ValueError(
                "AlignUniformLoss needs two columns of texts, anchors and positives, got "
                f"{len(embeddings)}; where dropout makes the two views, pass the same texts twice: "
                'dataset.add_column("positive", dataset["text"]).'
            )
        x, y, *others = embeddings
        _remember(self.online, x, y)
        ids = _ids(labels, x, others)
        if others or _has_pairs(x, ids, gathered=self.gather_across_devices):
            terms = self.objective.terms(x, y, self._negatives(others), **ids)
            align, uniform = terms.align, terms.uniform
        else:
            align, uniform = self.objective.align(x, y), 0 * (x + y).sum()
        align, uniform = self.objective.align_weight * align, self.objective.uniform_weight * uniform
        return {"align": align, "uniform": uniform} if self.log_terms else align + uniform

    def _negatives(self, others: list[Tensor]) -> Tensor | None:
        """Return the negatives of all columns, and of all processes if they are gathered."""
        if not others:
            return None
        negatives = torch.cat(others)
        return gather_rows(negatives) if self.gather_across_devices else negatives

    def get_config_dict(self) -> dict[str, Any]:
        """Return the settings, as the model card shows them."""
        return {
            "align_weight": self.objective.align_weight,
            "uniform_weight": self.objective.uniform_weight,
            "alpha": self.objective.align.alpha,
            "t": self.objective.uniform.t,
            "gather_across_devices": self.gather_across_devices,
        }

    @property
    def citation(self) -> str:
        """The entry of the paper, which the model card shows."""
        return CITATION


class UniformityRegularizer(nn.Module):
    r"""Another loss, plus the uniformity of the columns of texts.

    .. math:: L + w \frac{1}{C} \sum_{c=1}^{C} L_{uniform}(x_c; t)

    The embeddings are those that the other loss computes, so nothing is embedded twice, except with losses
    of cached gradients (`Cached...Loss`), which give none with a gradient. Each column is a population of its
    own: pairs of texts of different columns, such as positives, are not pushed apart. To regularise each
    length of a `MatryoshkaLoss`, put the regulariser inside; around it, it takes the whole embeddings.

    Args:
        model: the model to train.
        loss: the other loss, of any columns and labels.
        weight: w; what suits a contrastive loss is far below 1.
        t: the inverse squared width of the Gaussian.
        columns: the numbers of the columns that count, from 0; None for all.
        gather_across_devices: whether uniformity is that of the batches of all processes together.
        online: a window that gets the embeddings of these columns in each training step; see
            `OnlineUniformity`.

    Raises:
        ValueError: `columns` is empty.

    Example:
        >>> from align_uniform.integrations.sentence_transformers import UniformityRegularizer
        >>> loss = UniformityRegularizer(model, CoSENTLoss(model), weight=0.1)  # doctest: +SKIP

    Reference:
        Wang & Isola, ICML 2020, arXiv 2005.10242, section 4.1.2.
    """

    def __init__(
        self,
        model: SentenceTransformer,
        loss: nn.Module,
        weight: float = 0.1,
        t: float = 2,
        columns: Sequence[int] | None = None,
        gather_across_devices: bool = False,
        online: OnlineUniformity | None = None,
    ) -> None:
        super().__init__()
        if columns is not None and not columns:
            raise ValueError("columns must name at least one column, got none; leave it out for all.")
        self.model = model
        self.loss = loss
        self.weight = weight
        self.t = t
        self.columns = columns
        self.gather_across_devices = gather_across_devices
        self.online = online

    def forward(
        self, sentence_features: Features, labels: Tensor | None = None
    ) -> Tensor | dict[str, Tensor]:
        """Return the other loss with the regulariser, or, if it returns its terms by name, with one more.

        Raises:
            ValueError: there is no such column.
        """
        features = list(sentence_features)
        seen: list[Tensor] = []
        handle = self.model.register_forward_hook(
            lambda _module, _inputs, output: seen.append(output["sentence_embedding"])
        )
        try:
            loss = self.loss(features, labels)
        finally:
            handle.remove()
        columns = self._chosen(self._embeddings(features, seen))
        _remember(self.online, *columns)
        values = [
            uniform_loss(column, self.t, normalize=True, gather_distributed=self.gather_across_devices)
            if _has_pairs(column, {}, gathered=self.gather_across_devices)
            else 0 * column.sum()
            for column in columns
        ]
        term = self.weight * torch.stack(values).mean()
        return loss | {"uniform": term} if isinstance(loss, dict) else loss + term

    def _embeddings(self, features: list[dict[str, Tensor]], seen: list[Tensor]) -> list[Tensor]:
        """Return the embeddings of each column, as the other loss computed them, or computed here.

        Losses may embed several columns in one call, one column after the other, and may call a model again
        for shorter embeddings or other layers.
        """
        if torch.is_grad_enabled() and not all(each.requires_grad for each in seen):
            return [self.model(dict(column))["sentence_embedding"] for column in features]
        widest = max((each.shape[1] for each in seen), default=0)
        rows = torch.cat([each for each in seen if each.shape[1] == widest])
        batch = len(rows) // len(features)
        if (
            ends := features[0].get("cu_seq_lens_q")
        ) is not None:  # texts packed into one, for FlashAttention
            return list(rows.split(len(ends) - 1))[: len(features)]
        for name in ("attention_mask", "input_ids"):
            if (held := features[0].get(name)) is not None and held.dim() == 2:
                batch = len(held)
                break
        return list(rows[: batch * len(features)].split(batch))

    def _chosen(self, embeddings: list[Tensor]) -> list[Tensor]:
        chosen = range(len(embeddings)) if self.columns is None else self.columns
        if any(not 0 <= number < len(embeddings) for number in chosen):
            raise ValueError(
                f"columns must be from 0 to {len(embeddings) - 1}, since the data set has "
                f"{counted(len(embeddings), 'column')} of texts, got {list(chosen)}."
            )
        return [embeddings[number] for number in chosen]

    def get_config_dict(self) -> dict[str, Any]:
        """Return the settings, as the model card shows them."""
        return {
            "loss": type(self.loss).__name__,
            "weight": self.weight,
            "t": self.t,
            "columns": self.columns,
            "gather_across_devices": self.gather_across_devices,
        }

    @property
    def citation(self) -> str:
        """The entry of the paper, which the model card shows."""
        return CITATION


def _remember(online: OnlineUniformity | None, *columns: Tensor) -> None:
    """Show a window the embeddings of a training step, unless a wrapper has shortened them."""
    if online is None or not torch.is_grad_enabled():
        return
    if columns[0].shape[1] > online.width > 0:
        online.reset()  # the embeddings before were shortened
    if columns[0].shape[1] >= online.width:
        online.update(*columns)


def _has_pairs(x: Tensor, ids: dict[str, Tensor], *, gathered: bool) -> bool:
    """Return whether a batch has two rows of different items: the last batch of an epoch may have one row.

    Without them the uniformity counts as 0. The rows of several processes are taken to be several.
    """
    if gathered and world_size() > 1:
        return True
    return len(x) > 1 and ("ids" not in ids or bool((ids["ids"] != ids["ids"][0]).any()))


def _ids(labels: Tensor | None, x: Tensor, others: list[Tensor]) -> dict[str, Tensor]:
    """Return the items of the rows, if labels name them.

    Raises:
        ValueError: the labels are scores, or come with negatives.
    """
    if labels is None:
        return {}
    if labels.is_floating_point() or labels.dim() != 1:
        raise ValueError(
            "AlignUniformLoss takes pairs that are positive, and no scores, got labels of "
            f"{labels.dtype}, {list(labels.shape)}; keep the positive pairs alone: "
            'dataset.filter(lambda row: row["score"] > 4).remove_columns("score").'
        )
    if others:
        raise ValueError(
            f"labels are of pairs, got {counted(2 + len(others), 'column')} of texts; leave out the labels, "
            "or the negatives."
        )
    return {"ids": labels.to(x.device)}
