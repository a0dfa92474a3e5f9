"""The loss, the regulariser and the evaluator in the trainer of sentence-transformers, on a small BERT."""

from __future__ import annotations

import csv
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset
from sentence_transformers import (
    SentenceTransformer,
    SentenceTransformerTrainer,
    SentenceTransformerTrainingArguments,
)
from sentence_transformers.base.modules import Transformer
from sentence_transformers.sentence_transformer.losses import (
    CachedMultipleNegativesRankingLoss,
    CoSENTLoss,
    MatryoshkaLoss,
    MultipleNegativesRankingLoss,
)
from sentence_transformers.sentence_transformer.modules import Pooling
from torch import Tensor, nn

from align_uniform import measure
from align_uniform.functional import align_loss, uniform_loss
from align_uniform.integrations.online import OnlineUniformity
from align_uniform.integrations.sentence_transformers import (
    AlignUniformEvaluator,
    AlignUniformLoss,
    UniformityRegularizer,
)
from align_uniform.integrations.sentence_transformers.evaluator import METRICS
from tests.integrations.pages import run_page
from tests.integrations.small_bert import PAIRS, bert_in

pytestmark = pytest.mark.filterwarnings("ignore:'pin_memory' argument is set as true:UserWarning")

FIRST, SECOND = [pair[0] for pair in PAIRS], [pair[1] for pair in PAIRS]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return bert_in(tmp_path_factory.mktemp("bert"))


@pytest.fixture
def model(folder: Path) -> SentenceTransformer:
    """A model without dropout, so that the same texts have the same embeddings."""
    bert = Transformer(
        str(folder), config_kwargs={"hidden_dropout_prob": 0, "attention_probs_dropout_prob": 0}
    )
    return SentenceTransformer(modules=[bert, Pooling(16)], device="cpu")


@pytest.fixture
def calls(model: SentenceTransformer, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The number of texts in each call of the model."""
    found: list[int] = []
    model.register_forward_hook(lambda _, __, output: found.append(len(output["sentence_embedding"])))
    return found


def columns(model: SentenceTransformer, *texts: list[str]) -> list[dict[str, Tensor]]:
    return [model.preprocess(column) for column in texts]


def embedded(model: SentenceTransformer, texts: list[str]) -> Tensor:
    embeddings: Tensor = model(model.preprocess(texts))["sentence_embedding"]
    return embeddings


def train(
    model: SentenceTransformer, loss: nn.Module, folder: Path, **options: Any
) -> SentenceTransformerTrainer:
    settings = {"max_steps": 3, "per_device_train_batch_size": 16, "report_to": "none", "use_cpu": True}
    settings |= {"disable_tqdm": True, "save_strategy": "no", "dataloader_pin_memory": False}
    evaluator, data = (
        options.pop("evaluator", None),
        options.pop("data", {"anchor": FIRST, "positive": SECOND}),
    )
    trainer = SentenceTransformerTrainer(
        model=model,
        args=SentenceTransformerTrainingArguments(output_dir=str(folder), **(settings | options)),
        train_dataset=Dataset.from_dict(data),
        loss=loss,
        evaluator=evaluator,
    )
    trainer.train()
    return trainer


# --------------------------------------------------------------------------------------------------- the page


def test_the_page_trains_a_model(model: SentenceTransformer, tmp_path: Path) -> None:
    given = {
        "model": model,
        "pairs": Dataset.from_dict({"anchor": FIRST, "positive": SECOND}),
        "dev1": FIRST[::3],
        "dev2": SECOND[::3],
        "folder": str(tmp_path),
    }
    before = AlignUniformEvaluator(FIRST[::3], SECOND[::3])(model)
    names = run_page("sentence-transformers", given)
    history = names["trainer"].state.log_history
    evaluations = [line for line in history if "eval_dev_negative_objective" in line]
    assert evaluations[-1]["eval_dev_negative_objective"] > before["negative_objective"] + 0.5
    assert {"align", "uniform"} <= next(line for line in history if "loss" in line).keys()
    assert [line["step"] for line in history if "train_uniform" in line] == [5, 10, 15, 20]
    assert [line["step"] for line in history if "loss" in line] == [5, 10, 15, 20]


# --------------------------------------------------------------------------------------------------- the loss


def test_the_loss_is_alignment_and_uniformity_of_the_two_columns(model: SentenceTransformer) -> None:
    x, y = embedded(model, FIRST), embedded(model, SECOND)
    of_both = (uniform_loss(x, 3, normalize=True) + uniform_loss(y, 3, normalize=True)) / 2
    expected = 2 * align_loss(x, y, 1, normalize=True) + 0.5 * of_both
    loss = AlignUniformLoss(model, 2, 0.5, 1, 3)
    torch.testing.assert_close(loss(columns(model, FIRST, SECOND)), expected)


def test_further_columns_are_negatives_of_the_anchors(model: SentenceTransformer) -> None:
    texts = FIRST[:10], SECOND[:10], SECOND[20:30], SECOND[30:40]
    x, y, *others = (embedded(model, each) for each in texts)
    uniform = uniform_loss(x, negatives=torch.cat(others), normalize=True)
    expected = align_loss(x, y, normalize=True) + uniform
    torch.testing.assert_close(AlignUniformLoss(model)(columns(model, *texts)), expected)


def test_rows_with_one_label_are_not_pushed_apart(model: SentenceTransformer) -> None:
    x, y = embedded(model, FIRST), embedded(model, SECOND)
    labels = torch.arange(len(FIRST)) // 2
    of_both = [uniform_loss(rows, ids=labels, normalize=True) for rows in (x, y)]
    expected = align_loss(x, y, normalize=True) + torch.stack(of_both).mean()
    found = AlignUniformLoss(model)(columns(model, FIRST, SECOND), labels)
    torch.testing.assert_close(found, expected)


def test_the_terms_add_up_to_the_loss(model: SentenceTransformer) -> None:
    batch = columns(model, FIRST, SECOND)
    terms = AlignUniformLoss(model, 2, 0.5, log_terms=True)(batch)
    assert list(terms) == ["align", "uniform"]
    torch.testing.assert_close(sum(terms.values()), AlignUniformLoss(model, 2, 0.5)(batch))


@pytest.mark.parametrize(
    ("texts", "labels", "message"),
    [
        ((FIRST,), None, "two columns of texts"),
        ((FIRST, SECOND), torch.ones(96), r"got labels of torch.float32, \[96\]; keep the positive pairs"),
        ((FIRST, SECOND, FIRST), torch.ones(96).long(), "got 3 columns of texts"),
    ],
)
def test_data_that_are_no_pairs_are_refused(
    model: SentenceTransformer, texts: tuple[list[str], ...], labels: Tensor | None, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        AlignUniformLoss(model)(columns(model, *texts), labels)


def test_the_loss_is_trained_within_matryoshka(model: SentenceTransformer, tmp_path: Path) -> None:
    online = OnlineUniformity()
    inner = AlignUniformLoss(model, online=online)
    loss = MatryoshkaLoss(model, inner, [4, 16])
    batch = columns(model, FIRST, SECOND)
    x, y = embedded(model, FIRST), embedded(model, SECOND)
    parts = [
        align_loss(x[:, :dim], y[:, :dim], normalize=True)
        + uniform_loss(x[:, :dim], normalize=True) / 2
        + uniform_loss(y[:, :dim], normalize=True) / 2
        for dim in (4, 16)
    ]
    torch.testing.assert_close(loss(batch, None), parts[0] + parts[1])
    online.reset()
    before = measure(x.detach()).uniform.value
    train(model, loss, tmp_path, learning_rate=1e-2, max_steps=6)
    assert measure(embedded(model, FIRST).detach()).uniform.value < before - 0.1
    assert (len(online), online.width) == (96, 16)  # a step has 16 pairs, and is counted once


def test_a_model_card_has_the_settings_and_the_paper(model: SentenceTransformer) -> None:
    loss = AlignUniformLoss(model, uniform_weight=0.5, gather_across_devices=True)
    assert loss.get_config_dict() == {
        "align_weight": 1, "uniform_weight": 0.5, "alpha": 2, "t": 2, "gather_across_devices": True
    }  # fmt: skip
    assert loss.objective.align.gather_distributed
    assert loss.objective.uniform.gather_distributed
    assert "wang2020hypersphere" in loss.citation


# -------------------------------------------------------------------------------------------- the regulariser


@pytest.mark.parametrize("count", [2, 3])
@pytest.mark.parametrize("chosen", [None, [0], [1]])
def test_the_regulariser_adds_the_uniformity_of_columns_without_embedding_them_again(
    model: SentenceTransformer, calls: list[int], count: int, chosen: list[int] | None
) -> None:
    texts = (FIRST[:10], SECOND[:10], FIRST[20:30])[:count]
    batch = columns(model, *texts)
    own = [uniform_loss(embedded(model, each), 3, normalize=True) for each in texts]
    inner = MultipleNegativesRankingLoss(model)
    expected = inner(batch, None) + 0.5 * torch.stack([own[c] for c in chosen or range(count)]).mean()
    calls.clear()
    found = UniformityRegularizer(model, inner, 0.5, 3, chosen)(batch, None)
    torch.testing.assert_close(found, expected)
    assert sum(calls) == 10 * count


@pytest.mark.parametrize(
    "wrap",
    [
        lambda model, inner: UniformityRegularizer(model, MatryoshkaLoss(model, inner, [4, 16]), 0.5),
        lambda model, inner: MatryoshkaLoss(model, UniformityRegularizer(model, inner, 0.5), [4, 16]),
    ],
)
def test_the_regulariser_takes_whole_embeddings_around_matryoshka_and_every_length_within(
    model: SentenceTransformer, wrap: Callable[[SentenceTransformer, nn.Module], nn.Module]
) -> None:
    batch = columns(model, FIRST, SECOND)
    inner = MultipleNegativesRankingLoss(model)
    loss = wrap(model, inner)
    lengths = [16] if isinstance(loss, UniformityRegularizer) else [4, 16]
    x, y = embedded(model, FIRST), embedded(model, SECOND)
    term = sum(uniform_loss(z[:, :dim], normalize=True) / 4 for z in (x, y) for dim in lengths)
    torch.testing.assert_close(loss(batch, None), MatryoshkaLoss(model, inner, [4, 16])(batch, None) + term)


def test_a_loss_of_cached_gradients_is_regularised_too(model: SentenceTransformer) -> None:
    batch = columns(model, FIRST, SECOND)
    loss = UniformityRegularizer(model, CachedMultipleNegativesRankingLoss(model, mini_batch_size=32), 0.5)
    (uncached := UniformityRegularizer(model, MultipleNegativesRankingLoss(model), 0.5))(
        batch, None
    ).backward()
    expected = [parameter.grad.clone() for parameter in model.parameters() if parameter.grad is not None]
    model.zero_grad()
    value = loss(batch, None)
    value.backward()
    torch.testing.assert_close(value, uncached(batch, None))
    found = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-5)


def test_scored_pairs_are_trained_with_the_regulariser(model: SentenceTransformer, tmp_path: Path) -> None:
    before = measure(model.encode(FIRST)).uniform.value
    data = {"sentence1": FIRST, "sentence2": SECOND[:48] + FIRST[:48], "score": [1.0] * 48 + [0.0] * 48}
    loss = UniformityRegularizer(model, CoSENTLoss(model), 1.0, online=(online := OnlineUniformity()))
    train(model, loss, tmp_path, data=data, learning_rate=1e-2, max_steps=6)
    assert measure(model.encode(FIRST)).uniform.value < before - 0.1
    assert len(online) == 96
    assert loss.get_config_dict()["loss"] == "CoSENTLoss"


def test_a_loss_of_several_terms_gets_one_more(model: SentenceTransformer) -> None:
    loss = UniformityRegularizer(
        model, AlignUniformLoss(model, uniform_weight=0, log_terms=True), columns=[1]
    )
    found = loss(columns(model, FIRST, SECOND))
    assert isinstance(found, dict)
    torch.testing.assert_close(found["uniform"], 0.1 * uniform_loss(embedded(model, SECOND), normalize=True))


def test_columns_that_are_not_there_are_refused(model: SentenceTransformer) -> None:
    with pytest.raises(ValueError, match="leave it out for all"):
        UniformityRegularizer(model, CoSENTLoss(model), columns=[])
    with pytest.raises(ValueError, match=r"columns must be from 0 to 1, .* got \[2\]"):
        UniformityRegularizer(model, MultipleNegativesRankingLoss(model), columns=[2])(
            columns(model, FIRST, SECOND), None
        )


# ---------------------------------------------------------------------------------------------- the evaluator


@pytest.mark.parametrize("dim", [None, 8])
def test_the_evaluator_has_the_numbers_of_measure(model: SentenceTransformer, dim: int | None) -> None:
    scores = [5.0, 1.0] * 48
    found = AlignUniformEvaluator(FIRST, SECOND, scores, 4, name="dev", truncate_dim=dim)(model)
    x = model.encode([*FIRST, *SECOND])[:, :dim]
    expected = measure(x, pairs=[[i, 96 + i] for i in range(96)], scores=scores, threshold=4)
    assert expected.align is not None
    assert found["dev_negative_align"] == pytest.approx(-expected.align.value, rel=1e-4)
    assert found["dev_negative_relative"] == pytest.approx(-(expected.align.relative or 0), rel=1e-4)
    assert found["dev_negative_uniform"] == pytest.approx(-expected.uniform.value, rel=1e-4)
    assert found["dev_negative_gap"] == pytest.approx(-expected.uniform.gap, rel=1e-4)
    assert found["dev_uniform_stderr"] == pytest.approx(expected.uniform.stderr or 0, rel=1e-3)
    total = found["dev_negative_align"] + found["dev_negative_uniform"]
    assert found["dev_negative_objective"] == pytest.approx(total)
    assert list(found) == [f"dev_{name}" for name in METRICS]


def test_a_sentence_that_comes_again_is_embedded_once_and_is_no_pair_of_its_own(
    model: SentenceTransformer, calls: list[int]
) -> None:
    evaluator = AlignUniformEvaluator([*FIRST[:20], *FIRST[:20]], [*SECOND[:20], *SECOND[20:40]])
    found = evaluator(model)
    assert sum(calls) == 60
    x = model.encode([*FIRST[:20], *SECOND[:40]])
    assert found["negative_uniform"] == pytest.approx(-measure(x).uniform.value, rel=1e-4)
    assert evaluator.measurement is not None
    assert evaluator.measurement.n == 60


def test_the_trainer_keeps_the_best_model_by_the_evaluator(
    model: SentenceTransformer, tmp_path: Path
) -> None:
    evaluator = AlignUniformEvaluator(FIRST, SECOND, name="dev", primary_metric="negative_gap")
    options = {"eval_strategy": "steps", "eval_steps": 2, "save_steps": 2, "save_strategy": "steps"}
    options |= {"metric_for_best_model": "eval_dev_negative_gap", "load_best_model_at_end": True}
    options |= {"evaluator": evaluator, "max_steps": 4, "learning_rate": 1e-2}
    trainer = train(model, AlignUniformLoss(model), tmp_path, **options)
    assert evaluator.primary_metric == "dev_negative_gap"
    found = [line.get("eval_dev_negative_gap") for line in trainer.state.log_history]
    values = [value for value in found if value is not None]
    assert trainer.state.best_metric == max(values)
    with (tmp_path / "eval" / "align_uniform_evaluation_dev_results.csv").open(encoding="utf-8") as file:
        lines = list(csv.DictReader(file))
    assert [line["steps"] for line in lines] == ["2", "4"]
    assert [float(line["negative_gap"]) for line in lines] == pytest.approx(values)
    card = (Path(trainer.state.best_model_checkpoint or "") / "README.md").read_text(encoding="utf-8")
    assert "Alignment and Uniformity" in card
    assert "**negative_gap**" in card
    assert "wang2020hypersphere" in card


def test_no_table_is_written_where_none_is_wanted(model: SentenceTransformer, tmp_path: Path) -> None:
    AlignUniformEvaluator(FIRST, SECOND, write_csv=False)(model, str(tmp_path))
    assert not list(tmp_path.iterdir())


def test_a_pair_of_a_sentence_with_itself_is_left_out_with_its_score(model: SentenceTransformer) -> None:
    firsts, seconds = [FIRST[0], *FIRST[:20]], [FIRST[0], *SECOND[:20]]
    scores = [0.0] * 10 + [1.0] * 10
    found = AlignUniformEvaluator(firsts, seconds, [1.0, *scores], 0.5)(model)
    assert found == AlignUniformEvaluator(FIRST[:20], SECOND[:20], scores, 0.5)(model)


def test_few_sentences_have_no_error(model: SentenceTransformer) -> None:
    found = AlignUniformEvaluator(FIRST[:2], SECOND[:2])(model)
    assert math.isnan(found["uniform_stderr"])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: AlignUniformEvaluator(FIRST, SECOND[1:]), "of one length, got 96, 95"),
        (lambda: AlignUniformEvaluator(FIRST, SECOND, [1.0]), "of one length, got 96, 96, 1"),
        (lambda: AlignUniformEvaluator(FIRST, SECOND, primary_metric="uniform"), "primary_metric must be"),
        (lambda: AlignUniformEvaluator(FIRST, SECOND, [1.0] * 96), "go together"),
        (lambda: AlignUniformEvaluator(FIRST, SECOND, t=0), "t must be"),
    ],
)
def test_arguments_that_cannot_be_are_refused(call: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


def test_a_last_batch_of_one_row_has_no_uniformity_and_a_gradient(model: SentenceTransformer) -> None:
    one = columns(model, FIRST[:1], SECOND[:1])
    x, y = embedded(model, FIRST[:1]), embedded(model, SECOND[:1])
    loss = AlignUniformLoss(model)(one)
    assert isinstance(loss, Tensor)
    torch.testing.assert_close(loss, align_loss(x, y, normalize=True))
    loss.backward()
    of_one_item = AlignUniformLoss(model, log_terms=True)(
        columns(model, FIRST[:3], SECOND[:3]), torch.zeros(3, dtype=torch.int64)
    )
    assert isinstance(of_one_item, dict)
    assert of_one_item["uniform"] == 0
    ranking = MultipleNegativesRankingLoss(model)
    torch.testing.assert_close(UniformityRegularizer(model, ranking)(one), ranking(one, None))


def test_columns_that_are_packed_into_one_row_are_told_apart_by_their_ends(
    model: SentenceTransformer,
) -> None:
    """As sentence-transformers packs texts for FlashAttention, which needs a GPU: by the shape alone."""
    packed = {"input_ids": torch.zeros(1, 30), "cu_seq_lens_q": torch.tensor([0, 4, 11, 20, 30])}
    seen = [torch.arange(16.0).view(4, 4), -torch.arange(16.0).view(4, 4)]
    with torch.no_grad():
        found = UniformityRegularizer(model, nn.Identity())._embeddings([packed, packed], seen)
    assert [each.tolist() for each in found] == [each.tolist() for each in seen]


def test_pairs_of_which_none_is_positive_are_refused_before_anything_is_embedded() -> None:
    with pytest.raises(ValueError, match=r"above the threshold of 4, got scores from 0\.1 to 0\.9; pass"):
        AlignUniformEvaluator(FIRST[:2], SECOND[:2], [0.1, 0.9], threshold=4)
    with pytest.raises(ValueError, match="at least one pair of two different sentences, got none"):
        AlignUniformEvaluator(FIRST, FIRST)
