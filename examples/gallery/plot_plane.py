"""
The align-uniform plane
=======================

Encoders of digits that were trained with different weights of alignment (written next to the points;
uniformity has weight 1), in the plane of both numbers, coloured by 5-NN accuracy. Better is left and
down. The ends of the curve show why one number is not enough: at the upper left everything lies in one
place, and at the lower right pairs are hardly closer than strangers.
"""

import torch
from sklearn.datasets import load_digits
from torch import nn

from align_uniform import AlignUniformLoss, figures, measure, uniform_optimum

digits = load_digits()
images = torch.tensor(digits.data / 16).float()


def view(batch):
    return batch + 0.3 * torch.randn_like(batch)


def trained(weight):
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 16))
    optimizer = torch.optim.Adam(network.parameters(), lr=2e-3)
    loss = AlignUniformLoss(align_weight=weight, uniform_weight=1, normalize=True)
    for _ in range(150):
        batch = images[torch.randint(len(images), (256,))]
        value = loss(network(view(batch)), network(view(batch)))
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
    with torch.no_grad():
        return measure(network(view(images)), network(view(images)), labels=digits.target)


points = []
for weight in (0.05, 0.3, 1, 3, 10):
    found = trained(weight)
    points.append(
        figures.PlanePoint(
            f"{weight:g}", found.align.value, found.uniform.value, 100 * found.classes.knn,
            found.align.stderr, found.uniform.stderr,
        )
    )  # fmt: skip
figure = figures.plane_figure(points, uniform_optimum(16), "5-NN accuracy, %")
