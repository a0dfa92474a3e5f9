"""Networks of timm without their classifiers, with the transform that each is judged by."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from PIL import Image
from torch import Tensor, nn

from align_uniform._extras import needs
from align_uniform._messages import one_line
from align_uniform.recipes.encoders.checkpoints import check_fits, state_like
from align_uniform.recipes.encoders.networks import Encoder
from align_uniform.recipes.encoders.preparation import Preparation
from align_uniform.recipes.images.augmentations import Pixels, Step, as_image
from align_uniform.recipes.images.statistics import Statistics
from align_uniform.recipes.images.views import Transform

TO_TENSORS = ("ToTensor", "MaybeToTensor", "PILToTensor", "Normalize")
"""Transforms of timm and torchvision by which a picture becomes a normalised tensor, as in `Transform`."""


@dataclass(frozen=True)
class Prepare(Step):
    """The steps of timm from a picture to one of the size that a network takes, as a step of ours."""

    steps: tuple[Any, ...]
    """Transforms of torchvision that draw nothing at random."""

    def apply(self, pixels: Pixels, _drawn: tuple[float, ...], /) -> Image.Image:
        """Return the image in the size of the network."""
        image = as_image(pixels)
        for step in self.steps:
            image = step(image)
        return image


class OfTimm(NamedTuple):
    """A network of timm, and how its images are prepared."""

    network: nn.Module
    size: int
    """Height and width of its images."""
    transform: Transform
    """The transform of timm's own evaluation."""


class NetworkOfTimm(Encoder):
    """A network of timm without its classifier, as an encoder of pictures with one layer, `output`.

    Args:
        found: the network and its transform.
    """

    layers = ("output",)

    def __init__(self, found: OfTimm) -> None:
        super().__init__()
        self.network, self.transform = found.network, Preparation(found.transform)
        self.eval()

    def forward(self, images: Tensor, layer: str = "output") -> Tensor:
        """Return the features before the classifier, [N, m], which are not normalised."""
        self._check_layer(layer)
        features: Tensor = self.network(images)
        return features


def timm_encoder(name: str, weights: Path | None = None, size: int | None = None) -> OfTimm:
    """Return a network of timm without its classifier, in eval mode and on the CPU.

    Args:
        name: a name of timm, such as resnet50 or vit_base_patch16_224.dino, also hf-hub:OWNER/NAME; or the
            folder of a model in the format of the Hugging Face Hub, as timm's `save_for_hf` writes it.
        weights: file of weights. By default the released ones are fetched, or those of the folder are read.
        size: height and width of the images; None for those that the network was judged by.

    Raises:
        OSError: the weights cannot be fetched or read.
        ValueError: timm has no such network, or the weights do not fit.
        ModuleNotFoundError: timm is missing.
    """
    with needs("timm"):
        import timm
        from timm import data
    folder = Path(name).expanduser()
    model = f"local-dir:{folder}" if folder.is_dir() else name
    if ":" not in model and not timm.is_model(name):
        near = timm.list_models(f"*{name.partition('.')[0]}*")[:5] or ["resnet50", "vit_small_patch16_224"]
        raise ValueError(
            f"timm has no network {name!r}, and no folder has that name; it has {', '.join(near)}."
        )
    try:
        network = timm.create_model(model, pretrained=weights is None, num_classes=0)
    except Exception as error:  # of any library that fetches or reads a part of the model
        reason = one_line(str(error) or type(error).__name__).rstrip(".")
        raise OSError(
            f"timm:{name} could not be fetched or read ({reason}); give the folder of a model, or a file of "
            "its weights as weights."
        ) from error
    if weights is not None:
        own = network.state_dict()
        removed = _classifiers(network)
        found = state_like(own, weights)
        state = {key: value for key, value in found.items() if not key.startswith(removed)}
        check_fits(weights, own, state, f"Give weights of timm's {name}.")
        network.load_state_dict(state)
    given = {} if size is None else {"input_size": (3, size, size)}
    config = data.resolve_data_config(given, model=network)
    steps = data.create_transform(**config, is_training=False).transforms
    pictures = tuple(step for step in steps if type(step).__name__ not in TO_TENSORS)
    statistics = Statistics(tuple(config["mean"]), tuple(config["std"]))
    return OfTimm(network.eval(), config["input_size"][-1], Transform((Prepare(pictures),), statistics))


def _classifiers(network: nn.Module) -> tuple[str, ...]:
    """Return the prefixes of the classifier's parameters."""
    config: Any = network.pretrained_cfg
    stated = config.get("classifier") or "fc"
    names = (stated,) if isinstance(stated, str) else tuple(stated)
    return tuple(f"{name}." for name in names)
