"""The command `encode`: features of images, or of texts for an encoder of texts."""

from __future__ import annotations

from align_uniform._extras import require
from align_uniform.recipes.encoders.options import ToEncodeOptions


def run(options: ToEncodeOptions) -> int:
    """Encode the items, each as it is, and write their features; return 0."""
    if options.takes_texts:
        require("sentence-transformers")
        from align_uniform.recipes.encoders import encode_texts

        return encode_texts.run(options)
    require("recipes")
    from align_uniform.recipes.encoders import encode_images

    return encode_images.run(options)
