"""Features of a frozen encoder: from any layer, in eval mode, and nothing about the encoder changes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from align_uniform.recipes.encoders.features import features, layer_names
from align_uniform.recipes.judge.linear import LinearData, train_linear
from tests import rows
from tests.recipes.judge.frozen_encoder import in_batches
from tests.recipes.judge.linear_worker import ADAM, CLASSES, Encoder, images_and_labels


def test_features_are_those_of_the_encoder_in_eval_mode_whatever_the_batches() -> None:
    encoder = Encoder()
    images, labels = images_and_labels(30, 1)
    seen: list[int] = []
    found, found_labels = features(encoder, in_batches(30, 1), on_batch=seen.append)
    torch.testing.assert_close(found, encoder.eval()(images).detach())
    assert torch.equal(found_labels, labels)
    assert seen == [12, 12, 6]
    assert not found.requires_grad


def test_modes_are_restored_module_by_module() -> None:
    encoder = Encoder().train()
    encoder.trunk.eval()
    features(encoder, in_batches(30, 1))
    assert encoder.training
    assert not encoder.trunk.training
    assert encoder.head.training


def test_modes_are_restored_after_an_error() -> None:
    encoder = Encoder().train()
    with pytest.raises(ValueError, match="layer must be"):
        features(encoder, in_batches(30, 1), "fc9")
    assert all(module.training for module in encoder.modules())


@pytest.mark.parametrize("layer", ["hidden", "trunk", "trunk.3", lambda encoder: encoder.trunk])
def test_a_layer_goes_by_its_name_or_its_module_or_is_a_function(layer: Any) -> None:
    encoder = Encoder().eval()
    images, _ = images_and_labels(30, 1)
    found, _ = features(encoder, in_batches(30, 1), layer if isinstance(layer, str) else layer(encoder))
    torch.testing.assert_close(found, encoder(images, "hidden").detach())


def test_the_output_of_a_module_is_taken_before_the_next_one_writes_into_it() -> None:
    encoder = Encoder().eval()  # whose ReLU is in place
    images, _ = images_and_labels(30, 1)
    found, _ = features(encoder, in_batches(30, 1), "trunk.2")
    torch.testing.assert_close(found, encoder.trunk[:3](images).detach())
    assert (found < 0).any()
    assert not any(module._forward_hooks for module in encoder.modules())


def test_maps_are_flattened_and_half_precision_is_widened() -> None:
    encoder = nn.Sequential(nn.Conv2d(1, 3, 2), nn.Flatten()).bfloat16()
    images = rows.normal(5, 1, 4, 4, dtype=torch.bfloat16)
    found, _ = features(encoder, [(images, torch.arange(5))], "0")
    assert found.shape == (5, 27)
    assert found.dtype == torch.float32


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        ("fc9", "layer must be one of the encoder's, got 'fc9'; it has hidden, output, trunk, trunk.0"),
        ("unused", "layer 'unused' is never called by the encoder"),
        (lambda images: images.sum((1, 2, 3)), r"must give a tensor \[N, ...\], got \[12\]"),
    ],
)
def test_a_layer_that_is_not_there_is_named_with_those_that_are(layer: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        features(Encoder(), in_batches(30, 1), layer)


def test_a_network_without_names_has_its_output_and_its_modules() -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(16, 3))
    assert layer_names(network) == ["output", "0", "1"]
    assert features(network, [(torch.ones(2, 1, 4, 4), torch.arange(2))])[0].shape == (2, 3)


def test_an_empty_loader_gives_no_row() -> None:
    found, labels = features(Encoder(), [])
    assert found.shape == (0, 0)
    assert labels.shape == (0,)


class Restless(nn.Module):
    """Counts its forward passes in a buffer, eval mode or not."""

    calls: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("calls", torch.tensor(0))
        self.weight = nn.Parameter(torch.eye(16))

    def forward(self, images: Tensor) -> Tensor:
        self.calls += 1
        return images.flatten(1) @ self.weight


def test_an_encoder_that_changes_is_told() -> None:
    batches = [(images.float(), labels) for images, labels in in_batches(30, 1)]
    with pytest.raises(ValueError, match="come out as it went in, but calls changed, 1 in all"):
        features(Restless(), batches)
    with pytest.raises(ValueError, match="but calls changed"):
        train_linear(Restless(), LinearData(batches, batches, CLASSES), protocol=replace(ADAM, epochs=1))


def test_features_are_computed_on_a_device_and_kept_on_the_cpu(device: str) -> None:
    encoder = Encoder().float()
    batches = [(images.float(), labels) for images, labels in in_batches(30, 1)]
    found, labels = features(encoder, batches, device=device)
    assert (found.device.type, labels.device.type) == ("cpu", "cpu")
    assert next(encoder.parameters()).device.type == device
