"""Some classes of ImageNet as links: all or nothing, and nothing but links is ever replaced."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from align_uniform.cli import main
from align_uniform.recipes import imagenet_subset
from align_uniform.recipes.imagenet_subset import link_subset, published_classes, read_classes

CLASSES = tuple(f"n0000000{i}" for i in range(5))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where `full` is an ImageNet of five classes, each with an image that names it; the command is run
    there.
    """
    for split in ("train", "val"):
        for name in CLASSES:
            (tmp_path / "full" / split / name).mkdir(parents=True)
            (tmp_path / "full" / split / name / "1.JPEG").write_text(f"{split} {name}")
    (tmp_path / "three.txt").write_text("# three of five\nn00000000\n\n n00000002 # a comment\nn00000004\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def everything(folder: Path) -> dict[str, str]:
    """Each path under the folder, with what it links to or holds; links are not followed."""
    found = {}
    for place, folders, files in os.walk(folder):
        for path in (Path(place, name) for name in folders + files):
            found[str(path.relative_to(folder))] = (
                os.readlink(path) if path.is_symlink() else "" if path.is_dir() else path.read_text()
            )
    return found


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """Run the command, which must refuse and change nothing; return the line it says."""
    before = everything(Path())
    assert main(["imagenet-subset", *arguments]) == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    assert len(printed.err.splitlines()) == 1
    assert everything(Path()) == before
    return printed.err


def test_the_classes_of_a_file_are_linked_in_train_and_val(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {name for name in everything(folder) if not name.startswith("some")}
    assert main(["imagenet-subset", "full", "some", "--classes", "three.txt"]) == 0
    assert capsys.readouterr() == ("some: 3 classes in train and val\n", "")
    for split in ("train", "val"):
        links = sorted((folder / "some" / split).iterdir())
        assert [link.name for link in links] == ["n00000000", "n00000002", "n00000004"]
        for link in links:
            assert os.readlink(link) == str(folder / "full" / split / link.name)
            assert (link / "1.JPEG").read_text() == f"{split} {link.name}"
    assert {name for name in everything(folder) if not name.startswith("some")} == before


def test_links_hold_from_elsewhere(folder: Path) -> None:
    (folder / "there").mkdir()
    link_subset(Path("full"), Path("there/some"), CLASSES[:1])
    (folder / "there").rename(folder / "elsewhere")
    assert (folder / "elsewhere/some/val" / CLASSES[0] / "1.JPEG").exists()
    assert (folder / "elsewhere/some").stat().st_mode == (folder / "full").stat().st_mode


def test_all_missing_classes_are_named(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "full/val/n00000002/1.JPEG").unlink()
    (folder / "full/val/n00000002").rmdir()
    (folder / "full/train/n00000006").symlink_to(folder / "nowhere")
    (folder / "four.txt").write_text("n00000001\nn00000002\nn00000006\nn00000007\n")
    said = refused(capsys, "full", "some", "--classes", "four.txt")
    assert (
        "lacks 5 of 8 folders: train/n00000006, train/n00000007, val/n00000002, val/n00000006, val/n00000007."
        in said
    )


def test_force_replaces_an_earlier_subset(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "two.txt").write_text("n00000001\nn00000002\n")
    assert main(["imagenet-subset", "full", "some", "--classes", "three.txt"]) == 0
    assert main(["imagenet-subset", "full", "some", "--classes", "two.txt", "--force"]) == 0
    assert sorted(path.name for path in Path("some/train").iterdir()) == ["n00000001", "n00000002"]
    assert all(
        (folder / "full" / split / name / "1.JPEG").exists() for split in ("train", "val") for name in CLASSES
    )
    assert sorted(path.name for path in folder.iterdir()) == ["full", "some", "three.txt", "two.txt"]
    capsys.readouterr()
    assert "some exists already; use --force" in refused(capsys, "full", "some", "--classes", "three.txt")


@pytest.mark.parametrize(
    ("real", "named"),
    [
        ("train/n00000003/1.JPEG", "train/n00000003"),
        ("val/notes.txt", "val/notes.txt"),
        ("notes.txt", "notes.txt"),
        ("test/n00000003/1.JPEG", "test"),
    ],
)
def test_force_never_replaces_what_is_no_link(
    real: str, named: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    link_subset(folder / "full", folder / "some", CLASSES[:2])
    (folder / "some" / real).parent.mkdir(parents=True, exist_ok=True)
    (folder / "some" / real).write_text("precious")
    said = refused(capsys, "full", "some", "--classes", "three.txt", "--force")
    assert f"some is no earlier subset, and --force never replaces {named};" in said


def test_neither_a_link_nor_a_file_nor_a_linked_split_is_replaced(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    link_subset(folder / "full", folder / "some", CLASSES[:2])
    (folder / "link").symlink_to(folder / "some")
    assert "itself a link" in refused(capsys, "full", "link", "--classes", "three.txt", "--force")
    (folder / "two.txt").touch()
    assert "a file" in refused(capsys, "full", "two.txt", "--classes", "three.txt", "--force")
    (folder / "odd").mkdir()
    (folder / "odd/train").symlink_to(folder / "some/train")
    assert "odd is no earlier subset, and --force never replaces train" in refused(
        capsys, "full", "odd", "--classes", "three.txt", "--force"
    )


@pytest.mark.parametrize("out", ["full", "full/train/n00000009", "full/val/n00000001/deep", "."])
def test_the_full_set_is_never_touched(out: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "choose another folder" in refused(capsys, "full", out, "--classes", "three.txt", "--force")


def test_a_subset_of_a_subset_and_not_in_its_own_place(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    link_subset(folder / "full", folder / "some", CLASSES)
    link_subset(folder / "some", folder / "fewer", CLASSES[:1])
    assert (folder / "fewer/train" / CLASSES[0] / "1.JPEG").exists()
    assert "contains the full ImageNet" in refused(
        capsys, "some", "some", "--classes", "three.txt", "--force"
    )


@pytest.mark.parametrize("force", [False, True])
def test_half_of_it_is_never_left(force: bool, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if force:
        link_subset(folder / "full", folder / "some", CLASSES[3:])
    before = everything(folder)
    link = Path.symlink_to

    def full_disk(path: Path, target: Path, target_is_directory: bool = False) -> None:
        if path.parent.name == "val":
            raise OSError("no space left")
        link(path, target, target_is_directory)

    monkeypatch.setattr(Path, "symlink_to", full_disk)
    with pytest.raises(OSError, match="no space left"):
        link_subset(folder / "full", folder / "some", CLASSES[:2], force=force)
    assert everything(folder) == before


def test_an_earlier_subset_comes_back_if_the_new_one_cannot_take_its_place(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    link_subset(folder / "full", folder / "some", CLASSES[3:])
    before = everything(folder)
    rename = Path.rename

    def stopped(path: Path, target: Path) -> Path:
        if path.name == "new":
            raise KeyboardInterrupt
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", stopped)
    with pytest.raises(KeyboardInterrupt):
        link_subset(folder / "full", folder / "some", CLASSES[:2], force=True)
    assert everything(folder) == before


def test_a_file_that_came_into_an_earlier_subset_meanwhile_is_kept(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    link_subset(folder / "full", folder / "some", CLASSES[3:])
    rename = Path.rename

    def late(path: Path, target: Path) -> Path:
        if target.name == "before":
            (path / "train" / "precious").touch()
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", late)
    with pytest.raises(ValueError, match=r"--force never replaces train.precious"):
        link_subset(folder / "full", folder / "some", CLASSES[:2], force=True)
    assert (folder / "some/train/precious").exists()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("n0000001\nn00000002\n", "line 1 is 'n0000001'"),
        ("n00000002\ncat\nn000000022\n", "line 2 is 'cat', line 3 is 'n000000022'"),
        ("n00000002\n\nn00000002\n", "line 3 repeats n00000002 of line 1"),
        ("../../etc\n", "line 1 is '../../etc'"),
        ("n0000000²\n", "line 1"),
        ("x\n" * 9, "line 5 is 'x' and 4 more"),
        ("# nothing\n", "lists no class"),
        ("", "lists no class"),
    ],
)
def test_bad_lines_are_named(
    text: str, message: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "bad.txt").write_text(text, encoding="utf-8")
    said = refused(capsys, "full", "some", "--classes", "bad.txt")
    assert "bad.txt" in said
    assert message in said


def test_lists_of_other_systems_are_read(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_bytes(b"\xef\xbb\xbfn00000001\r\nn00000002")
    assert read_classes(tmp_path / "list.txt") == ("n00000001", "n00000002")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere", "some", "--classes", "three.txt"], "has no folder train"),
        (["full/train", "some", "--classes", "three.txt"], "has no folder train"),
        (["full", "no/where", "--classes", "three.txt"], "there is no folder no; make it first"),
        (["full", "some", "--classes", "nowhere.txt"], "nowhere.txt"),
        (["full", "some", "--classes", "full"], "full"),
    ],
)
def test_what_is_not_there_is_told(
    arguments: list[str], message: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert message in refused(capsys, *arguments)


def test_the_published_list_is_checked(folder: Path) -> None:
    text = "".join(f"{name}\n" for name in CLASSES).encode()
    (folder / "list").write_bytes(text)
    url, checksum = (folder / "list").as_uri(), hashlib.sha256(text).hexdigest()
    assert published_classes(url, checksum) == CLASSES
    with pytest.raises(
        ValueError, match=rf"has the SHA-256 {checksum} where {imagenet_subset.LIST_SHA256} is expected"
    ):
        published_classes(url)


def test_without_a_network_one_line_says_how_to_pass_the_list(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_network(url: str, timeout: float) -> None:
        raise OSError(f"{url} is far away")

    monkeypatch.setattr(imagenet_subset, "urlopen", no_network)
    said = refused(capsys, "full", "some", "--classes", "imagenet-100")
    assert imagenet_subset.LIST_URL in said
    assert "give the file: --classes FILE" in said


def test_the_command_needs_no_more_than_its_words(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["imagenet-subset", "full", "some"]) == 2
    assert "give --classes FILE" in capsys.readouterr().err
