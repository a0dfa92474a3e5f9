"""Matrix factorisation on MovieLens-100K, trained by three objectives, and what its vectors look like.

    pip install "align-uniform[report]"
    python examples/recommender.py [--ratings ml-100k.inter]

Ratings of 4 and 5 are positive pairs of a user and a film; the last fifth of each user's are held out.
BPR sets a film that a user likes above a random one; align + uniform is DirectAU, and needs no negative;
the contrastive loss takes the other films of a batch. Two copies of a film in a batch are a pair at distance
0, which no encoder can push apart: `ids=` leaves such pairs out, and the last lines say how much they matter.
Settings, the epochs above all, were chosen by the last fifth of the training ratings, with another seed.
MovieLens-100K (Harper & Konstan, 2015) may not be passed on: pip fetches it, inside of the package recbole.

References: Rendle et al., UAI 2009 (BPR); Wang et al., KDD 2022, arXiv 2206.12811 (DirectAU).
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from align_uniform import align_loss, contrastive_loss, measure, uniform_loss

Loss = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]  # of users' and films' vectors and ids
HELD_OUT, DIM, BATCH, DEPTH, SEEDS = 0.2, 64, 1024, 20, 3


def directau(gamma: float, keep_copies: bool = False) -> Loss:
    """Return alignment plus gamma times the mean uniformity of users and films."""

    def loss(u: Tensor, v: Tensor, users: Tensor, films: Tensor) -> Tensor:
        ids = (None, None) if keep_copies else (users, films)
        return align_loss(u, v) + gamma / 2 * (uniform_loss(u, ids=ids[0]) + uniform_loss(v, ids=ids[1]))

    return loss


OBJECTIVES: dict[str, tuple[Loss | None, int]] = {  # with the epochs
    "BPR": (None, 32),
    "align + uniform": (directau(0.1), 18),
    "  copies kept": (directau(0.1, keep_copies=True), 18),
    "contrastive": (lambda u, v, _, films: contrastive_loss(u, v, 1.0, ids=films), 24),
}


def ratings(path: Path | None) -> np.ndarray:
    """Return the positive pairs, [N, 2] users and films from 0, in the order of time."""
    with tempfile.TemporaryDirectory() as folder:
        if path is None:
            command = ["-m", "pip", "download", "-q", "--no-deps", "recbole==1.2.1", "-d", folder]
            subprocess.run([sys.executable, *command], check=True)
            (wheel,) = Path(folder).glob("recbole-*.whl")
            name = "recbole/dataset_example/ml-100k/ml-100k.inter"
            path = Path(zipfile.ZipFile(wheel).extract(name, folder))
        table = np.loadtxt(path, delimiter="\t", skiprows=1, dtype=np.int64)
    liked = table[table[:, 2] >= 4]
    liked = liked[np.lexsort((liked[:, 1], liked[:, 3]))]
    return np.stack([np.unique(column, return_inverse=True)[1] for column in liked.T[:2]], axis=1)


def split_by_time(pairs: np.ndarray) -> tuple[Tensor, Tensor]:
    """Return the pairs that come first for each user, and the last fifth."""
    by_user = (np.flatnonzero(pairs[:, 0] == user) for user in np.unique(pairs[:, 0]))
    late = np.concatenate([rows[len(rows) - int(HELD_OUT * len(rows)) :] for rows in by_user])
    return torch.from_numpy(np.delete(pairs, late, 0)), torch.from_numpy(pairs[late])


def train(name: str, known: Tensor, counts: tuple[int, int], seed: int) -> tuple[Tensor, Tensor]:
    """Return the vectors of all users and of all films."""
    torch.manual_seed(seed)
    objective, epochs = OBJECTIVES[name]
    tables = nn.ModuleList(nn.Embedding(count, DIM) for count in counts)
    for table in tables:
        nn.init.normal_(table.weight, std=0.1)
    optimizer = torch.optim.Adam(tables.parameters(), lr=3e-3 if objective is None else 1e-3)
    for _ in range(epochs):
        for users, films in (part.T for part in known[torch.randperm(len(known))].split(BATCH)):
            u, v = tables[0](users), tables[1](films)
            if objective is None:
                other = tables[1](torch.randint(counts[1], films.shape))
                sizes = (u.square() + v.square()).sum(1)
                loss = (F.softplus((u * (other - v)).sum(1)) + 1e-2 * sizes).mean()
            else:
                loss = objective(F.normalize(u), F.normalize(v), users, films)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    found = [table.weight.detach() for table in tables]
    return tuple(z if objective is None else F.normalize(z) for z in found)  # type: ignore[return-value]


def recommended(users: Tensor, films: Tensor, known: Tensor, held_out: Tensor) -> tuple[float, float]:
    """Return Recall@20 and NDCG@20, means over the users with films held out; known films are left out."""
    scores = users @ films.T
    scores[known[:, 0], known[:, 1]] = -torch.inf
    relevant = torch.zeros_like(scores, dtype=torch.bool)
    relevant[held_out[:, 0], held_out[:, 1]] = True
    hits = relevant.gather(1, scores.topk(DEPTH).indices).double()
    counts, discounts = relevant.sum(1), 1 / torch.arange(2, DEPTH + 2).double().log2()
    ideal = discounts.cumsum(0)[counts.clamp(1, DEPTH) - 1]
    found = torch.stack([hits.sum(1) / counts, (hits @ discounts) / ideal])[:, counts > 0].mean(1)
    return float(found[0]), float(found[1])


def main() -> None:
    """Train, recommend and measure."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--ratings", type=Path, help="ml-100k.inter: user, film, rating, time, by tabs")
    known, held_out = split_by_time(pairs := ratings(parser.parse_args().ratings))
    counts = int(pairs[:, 0].max()) + 1, int(pairs[:, 1].max()) + 1
    popular = torch.ones(counts[0], 1), known[:, 1].bincount(minlength=counts[1])[:, None].float()
    write("", ["Recall@20", "NDCG@20", "rel. alignment", "uniformity", "modality gap", "RankMe"])
    write("most popular films", [f"{each:.3f}" for each in recommended(*popular, known, held_out)])
    for name in OBJECTIVES:
        rows = []
        for seed in range(SEEDS):
            users, films = train(name, known, counts, seed)
            found = measure(users, films, pairs=held_out, name=name)
            shape = found.align.relative, found.uniform.value, found.towers.modality_gap, found.rankme
            rows.append([*recommended(users, films, known, held_out), *shape])
        mean, deviation = np.mean(rows, 0), np.std(rows, 0, ddof=1)
        write(name, [f"{value:.3f} ± {error:.3f}" for value, error in zip(mean, deviation, strict=True)])
    _, films = train("align + uniform", known, counts, seed=0)
    batch = known[torch.randperm(len(known))[:BATCH], 1]
    for t in (2, 10, 50):
        both = uniform_loss(films[batch], t), uniform_loss(films[batch], t, ids=batch)
        write(f"a batch of films, t = {t}", [f"copies {both[0]:.3f}", f"none {both[1]:.3f}"])


def write(name: str, cells: Sequence[str]) -> None:
    """Write a line of the table."""
    sys.stdout.write(f"{name:<26}" + "".join(f"{cell:>17}" for cell in cells) + "\n")


if __name__ == "__main__":
    main()
