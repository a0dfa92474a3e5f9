from __future__ import annotations

from pathlib import Path

import pytest

from align_uniform.files import open_features, open_shards
from align_uniform.files.places import is_pattern, matching
from tests.files.samples import np, refusal, save
from tests.rows import normal


@pytest.mark.parametrize(
    "names",
    [
        [f"part_{number}.npy" for number in range(12)],
        ["part_1.npy", "part_02.npy", "part_2.npy", "part_0010.npy"],
        [f"epoch{epoch}/part_{part}-of-10.npy" for epoch in (2, 10) for part in (9, 10)],
        ["a9b1.npy", "a9b10.npy", "a10b2.npy", "b.npy"],
        [f"{10**20 + number}.npy" for number in (1, 9, 10)],
        ["x.npy", "x1.npy"],
    ],
    ids=lambda names: names[0],
)
def test_numbers_in_names_are_in_the_order_of_their_values(names: list[str], tmp_path: Path) -> None:
    for number, name in enumerate(reversed(names)):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        np.save(tmp_path / name, np.full((1, 2), float(len(names) - 1 - number)))
    pattern = tmp_path / ("*/*.npy" if "/" in names[0] else "*.npy")
    assert [str(path.relative_to(tmp_path)) for path in matching(pattern)] == names
    (rows,) = open_shards(pattern)
    assert rows[:][:, 0].tolist() == list(range(len(names)))


@pytest.mark.parametrize(
    ("pattern", "numbers"),
    [
        ("shards/part_*.npy", [1, 2, 10]),
        ("shards/part_?.npy", [1, 2]),
        ("shards/part_[12].npy", [1, 2]),
        ("sh*/part_1*.npy", [1, 10]),
        ("**/part_?.npy", [1, 2]),
        ("shards/*.h5::epoch3/x", [1, 2, 10]),
        ("shards/part_?.h5::/epoch3/x", [1, 2]),
    ],
)
def test_a_pattern_may_be_of_any_part_and_have_a_key_with_slashes(
    pattern: str, numbers: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for folder in ("shards", ".hidden"):
        Path(folder).mkdir()
        for number in (1, 2, 10):
            save(Path(folder) / f"part_{number}.npy", x=normal(3, 2) + number)
            save(Path(folder) / f"part_{number}.h5", **{"epoch3/x": normal(3, 2) + number})
    (rows,) = open_features(pattern)
    assert [round(float((rows[i : i + 3] - normal(3, 2))[0, 0])) for i in range(0, len(rows), 3)] == numbers


def test_a_file_with_the_name_of_a_pattern_is_a_file(tmp_path: Path) -> None:
    path = save(tmp_path / "x[1]?.npy", x=normal(5, 2))
    assert not is_pattern(path)
    assert open_features(path)[0].name == str(path)
    assert is_pattern(tmp_path / "x[1]*.npy")


def test_a_pattern_without_files_names_what_is_near(tmp_path: Path) -> None:
    save(tmp_path / "part_1.npy", x=normal(5, 2))
    for pattern, near in (("part_?.h5", "part_1.npy"), ("no/*.npy", "there is no folder")):
        message = refusal(open_features, tmp_path / pattern, error=FileNotFoundError)
        assert message.startswith(f"no file matches {tmp_path / pattern}; ")
        assert near in message
