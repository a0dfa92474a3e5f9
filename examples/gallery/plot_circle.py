"""
Encoders on the circle
======================

A small version of the paper's figure 3. An encoder with two outputs puts each digit on a circle, where
everything can be seen: how far apart the two views of a digit lie (left), how evenly all digits cover the
circle, and where each class is.

An untrained encoder has almost perfect alignment, because it puts everything in one place. Trained for
alignment and uniformity it covers the circle, and classes find places of their own, without a label.
"""

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn.functional import normalize

from align_uniform import AlignUniformLoss, figures

torch.manual_seed(0)
digits = load_digits()
images = torch.tensor(digits.data / 16).float()


def view(batch):
    return batch + 0.15 * torch.randn_like(batch)


def encoder():
    return nn.Sequential(nn.Linear(64, 256), nn.ReLU(), nn.Linear(256, 256), nn.ReLU(), nn.Linear(256, 2))


def on_circle(name, network):
    with torch.no_grad():
        x, y, plain = (normalize(network(each), dim=1) for each in (view(images), view(images), images))
    return figures.CircleFeatures(name, (x - y).norm(dim=1).numpy(), plain.numpy(), digits.target)


trained, loss = encoder(), AlignUniformLoss(normalize=True)
optimizer = torch.optim.Adam(trained.parameters(), lr=1e-3)
for _ in range(400):
    batch = images[torch.randint(len(images), (256,))]
    value = loss(trained(view(batch)), trained(view(batch)))
    optimizer.zero_grad()
    value.backward()
    optimizer.step()

encoders = [on_circle("untrained", encoder()), on_circle("align + uniform", trained)]
figure = figures.circle_figure(encoders, [str(digit) for digit in range(10)])
