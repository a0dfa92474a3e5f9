"""Recipes that train encoders with the losses, and judge them.

The packages form a line, in which each imports only those before it:

- `images`: data sets, their random views, and the order in which they come;
- `encoders`: networks, their files, and the features that they compute;
- `judge`: linear and nearest-neighbour accuracy;
- `pretrain`: training on two views of each image, and with a momentum encoder and a queue (MoCo).

`demo` is small enough to watch, `imagenet_subset` links some classes of ImageNet, and `devices` chooses where
to compute.
"""
