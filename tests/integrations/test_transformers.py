"""The callback in the trainer of transformers, on a small BERT."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import BertModel, BertTokenizer, Trainer, TrainingArguments

from align_uniform import measure
from align_uniform.integrations.online import OnlineUniformity
from align_uniform.integrations.transformers import AlignUniformCallback
from tests.integrations.pages import run_page
from tests.integrations.small_bert import PAIRS, bert_in
from tests.rows import normal

pytestmark = pytest.mark.filterwarnings("ignore:'pin_memory' argument is set as true:UserWarning")


def test_the_page_trains_a_model(tmp_path: Path) -> None:
    folder = bert_in(tmp_path)
    tokenizer = BertTokenizer.from_pretrained(folder)

    def tokenize(texts: Iterable[str]) -> Any:
        return tokenizer(list(texts), padding=True, return_tensors="pt")

    def collate(batch: list[tuple[str, str]]) -> dict[str, Any]:
        first, second = zip(*batch, strict=True)
        return {"first": tokenize(first), "second": tokenize(second)}

    model = BertModel.from_pretrained(folder)
    pairs = [list(texts) for texts in zip(*PAIRS, strict=True)]
    given = {
        "model": model,
        "pairs": pairs,
        "tokenize": tokenize,
        "collate": collate,
        "folder": str(tmp_path),
    }
    names = run_page("transformers", given)
    trainer = names["trainer"]
    history = trainer.state.log_history
    assert [line["step"] for line in history if "train_uniform" in line] == [5, 10, 15, 20]
    assert [line["step"] for line in history if "loss" in line] == [5, 10, 15, 20]
    uniform = {line["step"]: line["eval_uniform"] for line in history if "eval_uniform" in line}
    assert uniform[20] < uniform[10] - 0.1
    last = [line for line in history if "train_uniform" in line][-1]
    assert last["train_uniform"] == pytest.approx(uniform[20], abs=0.5)
    assert last["train_uniform.stderr"] < 0.1
    model.eval()
    with torch.no_grad():
        x, y = (names["embed"](model, tokenize(texts)) for texts in pairs)
    assert uniform[20] == pytest.approx(measure(x, y).uniform.value, abs=1e-5)


class Rows(nn.Module):
    """A model whose embeddings are a parameter, so that every number is known."""

    def __init__(self) -> None:
        super().__init__()
        self.rows = nn.Parameter(normal(30, 4) + 1)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return {"loss": self.rows.square().mean() + 0 * x.sum()}


def trained(callback: AlignUniformCallback, folder: Path, **options: Any) -> Trainer:
    settings: dict[str, Any] = {"max_steps": 4, "eval_strategy": "steps", "eval_steps": 2, "logging_steps": 2}
    settings |= {"report_to": "none", "use_cpu": True, "disable_tqdm": True, "prediction_loss_only": True}
    data: Any = [{"x": torch.zeros(1)}] * 8
    evaluated = options.pop("eval_dataset", data)
    trainer = Trainer(
        model=Rows(),
        args=TrainingArguments(output_dir=str(folder), **(settings | options)),
        train_dataset=data,
        eval_dataset=evaluated,
        callbacks=[callback],
    )
    trainer.train()
    return trainer


def test_the_best_model_is_that_of_a_number_of_measure(tmp_path: Path) -> None:
    modes: list[bool] = []

    def encode(model: nn.Module) -> Tensor:
        modes.append(model.training or torch.is_grad_enabled())
        assert isinstance(model, Rows)
        return model.rows

    callback = AlignUniformCallback(encode, labels=[0, 1] * 15)
    options = {"metric_for_best_model": "uniform", "greater_is_better": False, "save_strategy": "best"}
    trainer = trained(callback, tmp_path, **options)
    found = [line for line in trainer.state.log_history if "eval_uniform" in line]
    assert [line["step"] for line in found] == [2, 4]
    assert trainer.state.best_metric == min(line["eval_uniform"] for line in found)
    assert callback.measurement is not None
    assert found[-1]["eval_uniform.gap"] == callback.measurement.uniform.gap
    assert found[-1]["eval_align"] == callback.measurement.scalars()["align"]  # there are labels
    assert modes == [False, False]
    assert trainer.evaluate()["eval_uniform"] == found[-1]["eval_uniform"]
    with torch.no_grad():
        assert isinstance(trainer.model, Rows)
        trainer.model.rows.copy_(normal(30, 4, seed=1))  # as when another checkpoint is loaded
    expected = measure(normal(30, 4, seed=1)).uniform.value
    assert trainer.evaluate()["eval_uniform"] == pytest.approx(expected)


def test_several_data_sets_share_one_measurement_of_a_step(tmp_path: Path) -> None:
    calls: list[nn.Module] = []

    def encode(model: nn.Module) -> Tensor:
        calls.append(model)
        return normal(30, 4)

    data = [{"x": torch.zeros(1)}] * 8
    trainer = trained(AlignUniformCallback(encode), tmp_path, eval_dataset={"a": data, "b": data})
    assert len(calls) == 2  # steps 2 and 4
    assert len([line for line in trainer.state.log_history if "eval_uniform" in line]) == 2


def test_the_window_is_logged_where_the_trainer_logs(tmp_path: Path) -> None:
    online = OnlineUniformity()
    online.update(normal(30, 4))
    history = trained(AlignUniformCallback(online=online), tmp_path).state.log_history
    expected = measure(normal(30, 4)).uniform
    lines = [line for line in history if "train_uniform" in line]
    assert [line["step"] for line in lines] == [2, 4]
    assert lines[0]["train_uniform"] == pytest.approx(expected.value)
    assert lines[0]["train_uniform.stderr"] == pytest.approx(expected.stderr)
    assert lines[0]["train_uniform.gap"] == pytest.approx(expected.gap)
    assert "eval_uniform" not in {name for line in history for name in line}
