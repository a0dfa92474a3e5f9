"""Encoders of the recipes as models of the Hugging Face Hub, or of a folder in its format."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from align_uniform._extras import needs
from align_uniform.recipes.encoders.networks import build
from align_uniform.recipes.encoders.weights import OF_THE_HUB, EncoderCard, EncoderFile

with needs("hub"):
    from huggingface_hub import PyTorchModelHubMixin
    from safetensors.torch import save_file

__all__ = ["HubEncoder"]


class HubEncoder(
    nn.Module,
    PyTorchModelHubMixin,
    library_name="align-uniform",
    paper_url="https://arxiv.org/abs/2005.10242",
    license="mit",
    tags=["alignment", "uniformity"],
):
    """An encoder that saves and loads as models of the Hugging Face Hub do.

    `save_pretrained(folder)` writes model.safetensors, config.json with the arguments below, a model card,
    and encoder.json, so that `load_encoder(folder)` and `align-uniform evaluate --encoder` read the folder,
    too. `from_pretrained(folder)` returns the encoder in eval mode. The weights are those of `encoder`, under
    the names that they have there; all of them must be in the file.

    Args:
        arch: the architecture, as in `EncoderCard`.
        dim: the number of output features.
        head: the projection head of a ResNet, linear or mlp.
        size: the height and width of the images in pixels.
        channels: the number of channels of the images.
        mean: the mean of each channel, by which images in [0, 1] are normalised.
        std: the standard deviation of each channel.
        data: the data set that it was trained on.
        stem: the first layers of a ResNet, imagenet or small.

    Raises:
        ValueError: there is no such architecture, or a number is out of range.

    Example:
        >>> import tempfile, torch
        >>> from align_uniform.integrations.hub import HubEncoder
        >>> encoder = HubEncoder("small-conv", 8, size=28, channels=1, mean=[0.3], std=[0.3])
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     _ = encoder.save_pretrained(folder)
        ...     again = HubEncoder.from_pretrained(folder)
        Loading weights from local directory
        >>> again.card.size, again(torch.zeros(2, 1, 28, 28)).shape
        (28, torch.Size([2, 8]))
    """

    def __init__(
        self,
        arch: str,
        dim: int,
        head: str = "linear",
        size: int = 64,
        channels: int = 3,
        mean: Sequence[float] = (),
        std: Sequence[float] = (),
        data: str = "",
        stem: str = "imagenet",
    ) -> None:
        super().__init__()
        self.encoder = build(arch, dim, size=size, channels=channels, head=head, stem=stem)
        self.card = EncoderCard(
            arch, dim, head, size, channels, tuple(mean), tuple(std), data, self.encoder.layers, stem
        )
        """The description of the encoder, with what its images are normalised by."""

    @classmethod
    def from_run(cls, path: str | os.PathLike[str]) -> HubEncoder:
        """Return the encoder in the folder of a run, or in a file next to an encoder.json.

        Raises:
            OSError: there is no such file.
            ValueError: there is no encoder.json, or the file holds no encoder.
        """
        file = EncoderFile.read(path)
        if file.card is None:
            raise ValueError(
                f"{path} must have an encoder.json next to it, which describes the encoder; build "
                "HubEncoder(arch, dim, ...) and load the weights into its attribute encoder."
            )
        parts = {name: value for name, value in vars(file.card).items() if name != "layers"}
        found = cls(**parts)
        found.encoder.load_state_dict(file.state)
        return found.eval()

    def forward(self, images: Tensor, layer: str = "output") -> Tensor:
        """Return the features of a layer; see `card.layers` for their names.

        Args:
            images: [N, channels, size, size], normalised by `card.mean` and `card.std`.
            layer: the name of the layer; the output has rows of unit norm.
        """
        features: Tensor = self.encoder(images, layer)
        return features

    def _save_pretrained(self, save_directory: Path) -> None:
        state = {name: value.cpu().contiguous() for name, value in self.encoder.state_dict().items()}
        save_file(state, save_directory / OF_THE_HUB)
        self.card.write(save_directory)

    @classmethod
    def _load_as_safetensor(cls, model: Any, model_file: str, map_location: str, strict: bool) -> Any:  # noqa: ARG003
        super()._load_as_safetensor(model.encoder, model_file, map_location, True)
        return model.eval()
