"""The commands of the recipes: one table of their help, options and functions."""

from __future__ import annotations

from align_uniform.cli.command import Command

_PRETRAIN = """
By default the options have the values of the reference, or of --preset. A run uses one device, and under
torchrun one for each process: torchrun --nproc-per-node 8 -m align_uniform pretrain {kind}. After Ctrl-C the
same command resumes the run.
"""

_EVALUATE = """
The features are those of an encoder on labelled images, or come from files. Under torchrun the images are
shared among the processes, and each image counts once.
"""

COMMANDS: dict[tuple[str, ...], Command] = {
    ("demo",): Command(
        help="train small encoders of handwritten digits, and draw them",
        description="Train small encoders of handwritten digits without labels, and draw their features. "
        "This takes about two minutes.",
        options="align_uniform.recipes.demo_options:DemoOptions",
        run="align_uniform.recipes.demo:run",
    ),
    ("pretrain", "two-view"): Command(
        help="train an encoder on two views of each image",
        description="Train an encoder without labels on two views of each image, by alignment, uniformity "
        f"and the contrastive loss in any mixture.\n\n{_PRETRAIN.format(kind='two-view')}",
        options="align_uniform.recipes.pretrain.options:TwoViewOptions",
        run="align_uniform.recipes.pretrain.two_view:run",
        processes=True,
    ),
    ("pretrain", "moco"): Command(
        help="train an encoder with a momentum encoder and a queue (MoCo)",
        description="Train an encoder without labels on queries and a queue of keys from a momentum encoder "
        "(MoCo), by alignment, uniformity and the contrastive loss in any mixture."
        f"\n\n{_PRETRAIN.format(kind='moco')}",
        options="align_uniform.recipes.pretrain.options:MocoOptions",
        run="align_uniform.recipes.pretrain.moco:run",
        processes=True,
    ),
    ("encode",): Command(
        help="write an encoder's features of images or texts to a file",
        description="Encode each image of a folder or of a data set as it is, or each text of a file, and "
        "write the features to a file that `measure`, `compare` and `drift` read. A picture is resized, cut "
        "and normalised as encoder.json next to the encoder says, as in evaluation. Under torchrun the items "
        "are shared among the processes.",
        options="align_uniform.recipes.encoders.options:ToEncodeOptions",
        run="align_uniform.recipes.encoders.encode_items:run",
        extra="cli",
        processes=True,
    ),
    ("evaluate", "linear"): Command(
        help="accuracy of a linear classifier on an encoder's features",
        description="Train a linear classifier on the features of an encoder, and print its accuracy. A "
        f"protocol brings its own epochs, learning rates and batches.\n\n{_EVALUATE}",
        options="align_uniform.recipes.judge.options:LinearOptions",
        run="align_uniform.recipes.judge.evaluate:linear",
        processes=True,
    ),
    ("evaluate", "knn"): Command(
        help="accuracy of the nearest neighbours among an encoder's features",
        description="Classify each test image by the nearest training images in the features of an encoder, "
        f"and print the accuracy.\n\n{_EVALUATE}",
        options="align_uniform.recipes.judge.options:KnnOptions",
        run="align_uniform.recipes.judge.evaluate:knn",
        processes=True,
    ),
    ("evaluate", "compare"): Command(
        help="compare accuracies on the same images",
        description="Compare the accuracies of encoders on the same images, from the files that "
        "`evaluate --out` wrote. Differences are taken from the first, and tested by McNemar's exact test, "
        "which counts the images that one of two encoders alone gets right. The p of several differences is "
        "also adjusted by Holm's method.",
        options="align_uniform.recipes.judge.options:CompareScoresOptions",
        run="align_uniform.recipes.judge.comparison:compare",
    ),
    ("imagenet-subset",): Command(
        help="make a folder of links to some classes of ImageNet",
        description="Make OUT/train and OUT/val, with a link for each class to its folder in FULL/train and "
        "FULL/val. No image is copied. All missing classes are named before anything is made, and OUT is "
        "made whole or not at all.",
        options="align_uniform.recipes.imagenet_subset:SubsetOptions",
        run="align_uniform.recipes.imagenet_subset:run",
        extra="cli",
    ),
}
