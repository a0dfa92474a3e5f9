"""Encoders: the names and shapes of their parameters, their layers, and the unit norm of what they give."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torchvision.models import resnet18  # type: ignore[import-untyped]  # it is not typed

from align_uniform.recipes.encoders.networks import (
    Architecture,
    ResNetEncoder,
    SmallAlexNet,
    SmallConvNet,
    build,
)


def batch_norm(prefix: str, width: int) -> dict[str, tuple[int, ...]]:
    names = ("weight", "bias", "running_mean", "running_var")
    return {**{f"{prefix}.{name}": (width,) for name in names}, f"{prefix}.num_batches_tracked": ()}


# what `encoder.pth` of the STL-10 experiments holds, written out by hand
REFERENCE: dict[str, tuple[int, ...]] = {
    "blocks.0.0.weight": (96, 3, 3, 3),
    **batch_norm("blocks.0.1", 96),
    "blocks.1.0.weight": (192, 96, 3, 3),
    **batch_norm("blocks.1.1", 192),
    "blocks.2.0.weight": (384, 192, 3, 3),
    **batch_norm("blocks.2.1", 384),
    "blocks.3.0.weight": (384, 384, 3, 3),
    **batch_norm("blocks.3.1", 384),
    "blocks.4.0.weight": (192, 384, 3, 3),
    **batch_norm("blocks.4.1", 192),
    "blocks.5.1.weight": (4096, 192 * 7 * 7),
    **batch_norm("blocks.5.2", 4096),
    "blocks.6.0.weight": (4096, 4096),
    **batch_norm("blocks.6.1", 4096),
    "blocks.7.0.weight": (128, 4096),
    "blocks.7.0.bias": (128,),
}


def test_small_alexnet_has_the_parameters_of_the_reference_under_its_names_and_in_its_order() -> None:
    with torch.device("meta"):
        encoder = SmallAlexNet()
        theirs = {name: torch.empty(shape) for name, shape in REFERENCE.items()}
    state = encoder.state_dict()
    assert {name: tuple(value.shape) for name, value in state.items()} == REFERENCE
    assert list(state) == list(REFERENCE)
    assert sum(parameter.numel() for parameter in encoder.parameters()) == 58_678_368
    encoder.load_state_dict(theirs, assign=True)  # strict


def test_small_alexnet_starts_as_the_reference_does() -> None:
    torch.manual_seed(0)
    encoder = SmallAlexNet(feat_dim=8, size=15)
    for name, parameter in encoder.named_parameters():
        if parameter.dim() > 1:
            assert abs(parameter.mean().item()) < 1e-3, name
            assert parameter.std().item() == pytest.approx(0.02, rel=0.03), name
        else:
            assert (parameter == (name.endswith("weight"))).all(), name  # BatchNorm 1 and 0, the bias 0


def test_every_layer_of_small_alexnet_is_where_its_block_stops() -> None:
    with torch.device("meta"):
        encoder = SmallAlexNet().eval()
        images = torch.empty(2, 3, 64, 64)
        shapes = [tuple(encoder(images, layer).shape[1:]) for layer in encoder.layers]
        assert [tuple(encoder(images, layer_index=i).shape[1:]) for i in range(-8, 0)] == shapes
    maps = [(96, 31, 31), (192, 15, 15), (384, 15, 15), (384, 15, 15), (192, 7, 7)]
    assert encoder.layers == ("conv1", "conv2", "conv3", "conv4", "conv5", "fc6", "fc7", "output")
    assert shapes == [*maps, (4096,), (4096,), (128,)]


@pytest.mark.parametrize(("size", "channels"), [(15, 3), (28, 1), (33, 3)])
def test_small_alexnet_takes_other_sizes_and_grey_images(size: int, channels: int) -> None:
    encoder = SmallAlexNet(feat_dim=4, size=size, channels=channels).eval()
    images = torch.rand(2, channels, size, size)
    with torch.no_grad():
        output, fc7 = encoder(images), encoder(images, "fc7")
        torch.testing.assert_close(encoder(images, -2), fc7)
        torch.testing.assert_close(encoder(images, layer_index=-1), output)
        head = encoder.blocks[7](fc7)
    torch.testing.assert_close(output, head / head.norm(dim=1, keepdim=True))
    assert fc7.min() >= 0


def test_too_small_an_image_for_small_alexnet_is_told() -> None:
    with pytest.raises(ValueError, match="at least 15x15 pixels, got 14x14"):
        SmallAlexNet(size=14)


@pytest.mark.parametrize("layer", ["fc8", 8, -9])
def test_a_layer_that_is_not_there_is_told_with_those_that_are(layer: str | int) -> None:
    with torch.device("meta"):
        encoder = SmallAlexNet()
    with pytest.raises(ValueError, match=r"no layer .*; choose from conv1, conv2, .*fc7, output"):
        encoder(torch.empty(2, 3, 64, 64, device="meta"), layer)
    with pytest.raises(ValueError, match="choose from features, output"):
        SmallConvNet(4)(torch.empty(2, 1, 16, 16), str(layer))


@pytest.mark.parametrize(
    ("head", "shapes"),
    [
        ("linear", {"fc.weight": (16, 512), "fc.bias": (16,)}),
        (
            "mlp",
            {"fc.0.weight": (512, 512), "fc.0.bias": (512,), "fc.2.weight": (16, 512), "fc.2.bias": (16,)},
        ),
    ],
)
def test_a_resnet_has_the_names_of_torchvision_and_the_head_those_of_moco(
    head: str, shapes: dict[str, tuple[int, ...]]
) -> None:
    with torch.device("meta"):
        ours, theirs = ResNetEncoder("resnet18", 16, head).state_dict(), resnet18().state_dict()
    assert {name: tuple(value.shape) for name, value in ours.items() if name.startswith("fc.")} == shapes
    assert [name for name in ours if not name.startswith("fc.")] == [
        name for name in theirs if not name.startswith("fc.")
    ]


def test_a_resnet_computes_what_torchvision_does_up_to_the_head() -> None:
    theirs = resnet18(num_classes=16).eval()
    ours = ResNetEncoder("resnet18", 16).eval()
    ours.load_state_dict(theirs.state_dict())
    images = torch.rand(2, 3, 40, 32)
    with torch.no_grad():
        logits = theirs(images)
        torch.testing.assert_close(ours(images), logits / logits.norm(dim=1, keepdim=True))
        theirs.fc = nn.Identity()
        torch.testing.assert_close(ours(images, "backbone"), theirs(images))


@pytest.mark.parametrize("channels", [1, 3])
def test_the_small_stem_keeps_the_pixels_of_small_images(channels: int) -> None:
    encoder = build("resnet18", 8, channels=channels, stem="small").eval()
    seen: list[Tensor] = []
    encoder.get_submodule("layer1").register_forward_pre_hook(lambda _, inputs: seen.extend(inputs))
    with torch.no_grad():
        assert encoder(torch.rand(2, channels, 32, 32)).shape == (2, 8)
    assert seen[0].shape == (2, 64, 32, 32)
    standard = build("resnet18", 8, channels=channels)
    assert encoder.state_dict().keys() == standard.state_dict().keys()
    assert encoder.architecture.stem == "small"
    with pytest.raises(ValueError, match="no stem 'large'; choose from imagenet, small"):
        build("resnet18", 8, stem="large")


@pytest.mark.parametrize(
    ("arch", "channels", "layers"),
    [
        ("small-conv", 1, ("features", "output")),
        ("resnet18", 1, ("backbone", "output")),
        ("small-conv", 3, ("features", "output")),
    ],
)
def test_every_encoder_gives_unit_rows_and_tells_its_layers(
    arch: str, channels: int, layers: tuple[str, ...]
) -> None:
    encoder = build(arch, 6, size=28, channels=channels).eval()
    images = torch.rand(3, channels, 28, 28)
    with torch.no_grad():
        features = {layer: encoder(images, layer) for layer in encoder.layers}
        torch.testing.assert_close(encoder(images), features["output"])
    assert encoder.layers == layers
    assert features["output"].shape == (3, 6)
    assert features[layers[0]].shape == (3, 512)
    torch.testing.assert_close(features["output"].norm(dim=1), torch.ones(3))


def test_half_precision_is_normalised_in_single() -> None:
    encoder = SmallConvNet(6).to(torch.bfloat16).eval()
    with torch.no_grad():
        output = encoder(torch.rand(2, 1, 16, 16, dtype=torch.bfloat16))
    assert output.dtype == torch.float32
    torch.testing.assert_close(output.norm(dim=1), torch.ones(2))


def test_build_makes_what_it_is_asked_for() -> None:
    with torch.device("meta"):
        encoder = build("small-alexnet", 32, size=32)
        assert encoder.state_dict()["blocks.5.1.weight"].shape[1] == 192 * 3 * 3
        assert encoder.architecture == Architecture("small-alexnet", 32, "linear", 32, 3)
        assert "fc.2.weight" in build("resnet50", 128, head="mlp").state_dict()
    with pytest.raises(
        ValueError, match=r"no encoder 'vgg'; choose from small-alexnet, small-conv, resnet101, .*resnet18"
    ):
        build("vgg", 8)
    with pytest.raises(ValueError, match="no head 'deep'; choose from linear, mlp"):
        build("resnet18", 8, head="deep")
    with pytest.raises(ValueError, match="dim and channels must be at least 1, got 0 and 3"):
        build("small-conv", 0)
