"""The losses of rows as they are: the choice, made once, of tests whose rows are not of unit norm."""

from __future__ import annotations

from functools import partial

import align_uniform as losses

align_loss = partial(losses.align_loss, normalize=False)
uniform_loss = partial(losses.uniform_loss, normalize=False)
contrastive_loss = partial(losses.contrastive_loss, normalize=False)
w2_loss = partial(losses.w2_loss, normalize=False)

AlignLoss = partial(losses.AlignLoss, normalize=False)
UniformLoss = partial(losses.UniformLoss, normalize=False)
ContrastiveLoss = partial(losses.ContrastiveLoss, normalize=False)
AlignUniformLoss = partial(losses.AlignUniformLoss, normalize=False)
