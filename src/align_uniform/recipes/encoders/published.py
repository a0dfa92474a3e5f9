"""The encoders that were published with the paper, with their weights.

Weights are data here: whatever a file holds besides tensors and plain values is refused, and nothing in it is
executed.
"""

from __future__ import annotations

import hashlib
import http.client
import os
from pathlib import Path
from urllib.parse import urlsplit

import torch
from torch import nn

from align_uniform.recipes.encoders.weights import load_encoder

RELEASE = "https://github.com/SsnL/moco_align_uniform/releases/download/v1.0-checkpoints/"
ENCODER = "imagenet_align_uniform.pth.tar"
CLASSIFIER = "imagenet_align_uniform_with_linear_clf.pth.tar"


def imagenet_resnet50_encoder(
    with_linear_clf: bool = False, *, weights: str | os.PathLike[str] | None = None, progress: bool = True
) -> nn.Module:
    """The ResNet-50 that was trained on ImageNet with alignment and uniformity, without labels.

    It takes images of 224x224 pixels, normalised with ImageNet's mean (.485, .456, .406) and standard
    deviation (.229, .224, .225), and gives points on the unit sphere: the backbone's 2,048 features, through
    an MLP head, over their norm. With the classifier it is torchvision's ResNet-50 and gives logits: the same
    backbone, and the linear layer that was trained on its features.

    Args:
        with_linear_clf: [N, 3, 224, 224] -> [N, 1000] logits instead of [N, 128] of unit norm.
        weights: a file, or a URL of one, in place of the published; a checkpoint of this package's or the
            reference's recipe.
        progress: draw a bar on stderr while it is fetched. It is kept where torch.hub keeps its checkpoints.

    Returns:
        The network, in eval mode, on the CPU.

    Raises:
        OSError: the file could not be fetched or read.
        ValueError: it holds other weights, or code.

    Example:
        >>> import torch
        >>> encoder = imagenet_resnet50_encoder()  # doctest: +SKIP
        >>> encoder(torch.zeros(1, 3, 224, 224)).shape  # doctest: +SKIP
        torch.Size([1, 128])

    Reference:
        Wang & Isola, ICML 2020, arXiv 2005.10242; Chen et al., arXiv 2003.04297 (the MLP head).
    """
    path = weights_file(
        RELEASE + (CLASSIFIER if with_linear_clf else ENCODER) if weights is None else weights,
        progress=progress,
    )
    if not with_linear_clf:
        return load_encoder(path, arch="resnet50", dim=128, size=224, head="mlp")
    from torchvision.models import resnet50  # type: ignore[import-untyped]  # it is not typed

    classified = load_encoder(path, arch="resnet50", dim=1000, size=224, head="linear")
    network: nn.Module = resnet50(weights=None)
    network.load_state_dict(classified.state_dict())
    return network.eval()


def weights_file(weights: str | os.PathLike[str], *, progress: bool = True) -> Path:
    """Return the path of a file of weights; that of a URL is fetched, unless it was before, to torch.hub's
    folder.

    Raises:
        OSError: it could not be fetched.
    """
    url = os.fspath(weights)
    parts = urlsplit(url)
    if "://" not in url:
        return Path(url)
    name = parts.path.rpartition("/")[2] or "weights"
    if not url.startswith(RELEASE):  # files of the same name elsewhere are other files
        name = f"{hashlib.sha256(url.encode()).hexdigest()[:8]}-{name}"
    path = Path(torch.hub.get_dir(), "checkpoints", name)
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            torch.hub.download_url_to_file(url, str(path), progress=progress)  # whole or not at all
        except (OSError, http.client.HTTPException) as error:
            raise OSError(
                f"{url} could not be fetched ({error}); fetch it in another way and pass its path as weights."
            ) from error
    return path
