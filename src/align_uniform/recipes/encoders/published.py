"""Published encoders, with their weights: the paper's, and torchvision's networks without their classifiers.

Weights are data here: a file with anything but tensors and plain values is refused, and nothing in it is
executed.
"""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import os
import sys
from pathlib import Path
from urllib.parse import urlsplit

import torch
from torch import nn

from align_uniform._extras import needs
from align_uniform._writing import written_whole
from align_uniform.recipes.encoders.checkpoints import check_fits, state_like
from align_uniform.recipes.encoders.weights import load_encoder
from align_uniform.recipes.images.statistics import Statistics

__all__ = ["imagenet_resnet50_encoder", "torchvision_encoder", "weights_file"]

RELEASE = "https://github.com/SsnL/moco_align_uniform/releases/download/v1.0-checkpoints/"
ENCODER = "imagenet_align_uniform.pth.tar"
CLASSIFIER = "imagenet_align_uniform_with_linear_clf.pth.tar"


def imagenet_resnet50_encoder(
    with_linear_clf: bool = False, *, weights: str | os.PathLike[str] | None = None, progress: bool = True
) -> nn.Module:
    """Return the ResNet-50 that was trained on ImageNet with alignment and uniformity, without labels.

    It takes images of 224x224 pixels, normalised by ImageNet's mean (.485, .456, .406) and standard deviation
    (.229, .224, .225), and returns points on the unit sphere: the 2,048 features of the backbone go through
    an MLP head and are divided by their norm. With the classifier it is torchvision's ResNet-50 and returns
    logits: the same backbone, and the linear layer that was trained on its features.

    Args:
        with_linear_clf: whether to return [N, 1000] logits instead of [N, 128] features of unit norm.
        weights: path or URL of other weights than the published ones: a checkpoint of this package or of the
            reference.
        progress: whether to draw a bar on stderr during a download.

    Returns:
        The network, in eval mode and on the CPU, for images [N, 3, 224, 224].

    Raises:
        OSError: the file could not be fetched or read.
        ValueError: the file holds other weights, or code.

    Example:
        >>> import torch
        >>> encoder = imagenet_resnet50_encoder()  # doctest: +SKIP
        >>> encoder(torch.zeros(1, 3, 224, 224)).shape  # doctest: +SKIP
        torch.Size([1, 128])

    Reference:
        Wang & Isola, ICML 2020, arXiv 2005.10242; Chen et al., arXiv 2003.04297 (the MLP head).
    """
    released = RELEASE + (CLASSIFIER if with_linear_clf else ENCODER)
    path = weights_file(released if weights is None else weights, progress=progress)
    if not with_linear_clf:
        return load_encoder(path, arch="resnet50", dim=128, head="mlp", size=224)
    from torchvision.models import resnet50  # type: ignore[import-untyped]  # it is not typed

    classified = load_encoder(path, arch="resnet50", dim=1000, head="linear", size=224)
    network: nn.Module = resnet50(weights=None)
    network.load_state_dict(classified.state_dict())
    return network.eval()


def weights_file(weights: str | os.PathLike[str], *, progress: bool = True) -> Path:
    """Return the path of a file of weights, after a download to torch.hub's folder if it is a URL.

    A file that is in that folder is not fetched again.

    Raises:
        OSError: the file could not be fetched.
    """
    url = os.fspath(weights)
    if "://" not in url:
        return Path(url)
    name = urlsplit(url).path.rpartition("/")[2] or "weights"
    if not url.startswith(RELEASE):  # files of the same name elsewhere are other files
        name = f"{hashlib.sha256(url.encode()).hexdigest()[:8]}-{name}"
    path = Path(torch.hub.get_dir(), "checkpoints", name)
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            # load_state_dict_from_url would print on stdout, among the results, unpack zip files of the old
            # format under the names in them, and read nothing but torch's own files
            with written_whole(path) as partial:
                torch.hub.download_url_to_file(url, str(partial), progress=progress)
        except (OSError, http.client.HTTPException) as error:
            raise _not_fetched(url, error) from error
    return path


def torchvision_encoder(name: str, weights: Path | None = None) -> tuple[nn.Module, int, Statistics]:
    """Return a network of torchvision without its last layer, with the size and statistics of its images.

    Args:
        name: name of a classifier of torchvision, such as resnet50 or vit_b_16.
        weights: file of weights. By default the released ones are fetched.

    Raises:
        OSError: the weights could not be fetched or read.
        ValueError: there is no such network, it does not end in a linear layer, or the weights do not fit.
    """
    with needs("recipes"):
        from torchvision import models  # type: ignore[import-untyped]  # it is not typed

    names = models.list_models(module=models)
    if name not in names:
        raise ValueError(f"torchvision has no classifier {name!r}; choose from {', '.join(names)}.")
    released = models.get_model_weights(name).DEFAULT
    try:
        with contextlib.redirect_stdout(sys.stderr):  # torch reports downloads on stdout
            network: nn.Module = models.get_model(name, weights=released if weights is None else None)
    except (OSError, RuntimeError) as error:  # RuntimeError: another checksum than torchvision's
        raise _not_fetched(released.url, error) from error
    removed = _remove_last_layer(network, name)
    if weights is not None:
        own = network.state_dict()
        found = state_like(own, weights)
        state = {name: value for name, value in found.items() if not name.startswith(removed)}
        check_fits(weights, own, state, f"Give weights of torchvision's {name}.")
        network.load_state_dict(state)
        if hasattr(network, "transform_input"):  # as with the released weights of GoogLeNet and Inception
            setattr(network, "transform_input", True)  # noqa: B010  # mypy takes it for a tensor or module
    transforms = released.transforms()
    return network, transforms.crop_size[0], Statistics(tuple(transforms.mean), tuple(transforms.std))


def _remove_last_layer(network: nn.Module, name: str) -> str:
    """Put the identity in the place of the last layer, and return the prefix of that layer's parameters."""
    linear = [path for path, module in network.named_modules() if isinstance(module, nn.Linear)]
    last = linear[-1] if linear else ""
    if not linear or list(network.modules())[-1] is not network.get_submodule(last):
        raise ValueError(
            f"{name} does not end in a linear layer, whose input would be its features; choose another "
            "network."
        )
    parent, _, child = last.rpartition(".")
    setattr(network.get_submodule(parent), child, nn.Identity())
    return f"{last}."


def _not_fetched(url: str, error: Exception) -> OSError:
    return OSError(
        f"{url} could not be fetched ({error}); fetch it in another way and pass its path as weights."
    )
