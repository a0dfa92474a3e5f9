"""Entry points of torch.hub, for which nothing but torch and torchvision needs to be installed.

encoder = torch.hub.load(".", "imagenet_resnet50_encoder", source="local")  # in a clone
"""

import os
import sys

dependencies = ["torch", "torchvision"]

_SOURCE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "src")
if _SOURCE not in sys.path:
    sys.path.insert(0, _SOURCE)

from align_uniform.recipes.encoders.published import imagenet_resnet50_encoder  # noqa: E402  # found on the path set above

__all__ = ["imagenet_resnet50_encoder"]
