"""Options and presets: light to load, and the presets are those that were published."""

from __future__ import annotations

import math
import subprocess
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from align_uniform._options import options_that_may_change
from align_uniform.cli import main
from align_uniform.recipes.images import workers
from align_uniform.recipes.pretrain import moco, presets, two_view
from align_uniform.recipes.pretrain.options import MocoOptions, TwoViewOptions

SMALL = {"arch": "small-conv", "dim": 64, "batch_size": 256, "schedule": "cosine"}
STRONG = {"mlp": True, "aug_plus": True, "schedule": "cosine", "batch_size": 256, "evaluate_every": 0}
SMALL_IMAGES = {
    "data": "cifar10", "arch": "resnet18", "stem": "small", "size": 32, "dim": 128, "epochs": 200,
    "batch_size": 512, "schedule": "cosine", "weight_decay": 5e-4, "evaluate_every": 20,
}  # fmt: skip
CONTRASTIVE = {"align_weight": 0, "uniform_weight": 0, "contrastive_weight": 1, "contrastive_tau": 0.2}
CHANGED: dict[tuple[str, str], dict[str, Any]] = {
    # what each preset changes of the defaults
    ("two-view", "stl10"): {},
    ("two-view", "digits"): SMALL
    | {"data": "digits", "size": 16, "epochs": 40, "lr": 0.12, "workers": 0, "evaluate_every": 10},
    ("two-view", "fashion-mnist"): SMALL
    | {"data": "fashion-mnist", "size": 28, "epochs": 20, "lr": 0.06, "evaluate_every": 5},
    ("two-view", "cifar10"): SMALL_IMAGES | {"lr": 0.24},
    ("two-view", "cifar10-cpu"): SMALL
    | {"data": "cifar10", "size": 32, "epochs": 20, "lr": 0.06, "evaluate_every": 5},
    ("two-view", "imagefolder"): {
        "data": "imagefolder", "arch": "resnet18", "size": 224, "batch_size": 256, "lr": 0.12,
    },
    ("moco", "cifar10"): SMALL_IMAGES | {"queue": 4096, "key_momentum": 0.99, "lr": 0.06},
    ("moco", "imagenet-100"): {},
    ("moco", "imagenet"): STRONG,
    ("moco", "imagenet-moco-v2"): STRONG | CONTRASTIVE,
    ("moco", "fashion-mnist"): SMALL
    | {"data": "fashion-mnist", "size": 28, "queue": 4096, "key_momentum": 0.99, "epochs": 20, "lr": 0.06,
       "evaluate_every": 5},
}  # fmt: skip
CLASSES: dict[str, Any] = {"two-view": TwoViewOptions, "moco": MocoOptions}
MAKERS: dict[str, Any] = {"two-view": two_view.options, "moco": moco.options}


@pytest.mark.parametrize(("recipe", "name"), CHANGED)
def test_a_preset_changes_this_of_the_defaults(recipe: str, name: str) -> None:
    assert MAKERS[recipe](name) == CLASSES[recipe](preset=name, **CHANGED[recipe, name])


def test_these_are_all_presets_and_another_is_refused() -> None:
    assert set(CHANGED) == {(recipe, name) for recipe in CLASSES for name in presets.names(recipe)}
    with pytest.raises(ValueError, match=r"preset must be one of 'cifar10', .* got 'stl11'"):
        moco.options("stl11")
    with pytest.raises(ValueError, match=r"preset must be one of 'cifar10', .* got 'stl11'"):
        TwoViewOptions(preset="stl11")


def test_options_and_the_names_of_presets_need_nothing_but_python() -> None:
    code = (
        "import sys; before = set(sys.modules)\n"
        "sys.modules['align_uniform'] = type(sys)('align_uniform')\n"
        f"sys.modules['align_uniform'].__path__ = [{str(Path(workers.__file__).parents[2])!r}]\n"
        "import align_uniform.recipes.pretrain.options as options\n"
        "assert options.TwoViewOptions().preset == 'stl10'\n"
        "roots = {name.partition('.')[0] for name in set(sys.modules) - before} - sys.stdlib_module_names\n"
        "print(*roots)"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.split() == ["align_uniform"]


def test_what_may_change_on_resume_is_what_does_not_change_what_is_learned() -> None:
    shared = {"root", "download", "device", "workers", "augment_on", "out", "resume", "log_every"}
    shared |= {"evaluate_every"}
    assert options_that_may_change(TwoViewOptions) == shared | {"tensorboard", "steps"}
    assert options_that_may_change(MocoOptions) == shared | {"tensorboard", "steps", "keep_every", "start"}
    chosen = MocoOptions()
    kept = {each.name for each in fields(chosen)} - options_that_may_change(chosen)
    assert chosen.course().keys() == kept
    assert chosen.course()["milestones"] == [120, 160]


@pytest.mark.parametrize(
    ("changed", "name"),
    [
        ({}, "stl10"),
        ({"preset": "imagefolder", "data": "imagefolder"}, "imagefolder"),
        ({"data": "imagefolder"}, "stl10-imagefolder"),
        ({"preset": "imagefolder", "data": "digits"}, "imagefolder-digits"),
    ],
)
def test_the_folder_of_a_run_names_preset_data_recipe_and_objective(
    changed: dict[str, Any], name: str
) -> None:
    folder = TwoViewOptions(out=Path("runs"), **changed).folder
    assert folder == Path("runs") / f"{name}-two-view-align1alpha2_unif1t2"
    assert MocoOptions().folder.name == "imagenet-100-moco-align3alpha2_unif1t3"


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (
            {"milestones": (155,), "epochs": 40},
            r"milestones must lie between 1 and 39, .* got \(155,\); leave them",
        ),
        ({"milestones": (0, 10)}, r"milestones must lie between 1 and 199, within the 200 epochs"),
        ({"milestones": (10,), "schedule": "cosine"}, "milestones are for the schedule step, and .* cosine"),
        ({"epochs": 0}, "epochs must be at least 1, got 0"),
        ({"limit": 0}, "limit must be at least 1, got 0"),
        ({"steps": -2}, "steps must be at least 1, got -2"),
        ({"workers": -1}, "workers must not be negative, got -1"),
        ({"lr": 0.0}, "lr must be a finite number above 0"),
        ({"schedule": "linear"}, "schedule must be one of 'step', 'cosine'"),
        ({"precision": "fp8"}, "precision must be one of 'fp32', 'bf16', 'fp16'"),
    ],
)
def test_wrong_options_are_refused(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TwoViewOptions(**changed)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"align_weight": 0, "uniform_weight": 0}, "the weights must be finite, not negative, and not all 0"),
        ({"align_weight": -1}, "the weights must be finite, not negative"),
        ({"align_weight": math.nan}, "the weights must be finite, not negative"),
        ({"uniform_weight": math.inf}, "the weights must be finite, not negative"),
        ({"momentum": math.inf}, "momentum must be a finite number, got inf"),
        ({"seed": 2**64}, r"seed must be below 2\^63, got 18446744073709551616"),
        ({"mean": (math.nan,), "std": (1.0,)}, "mean must have finite numbers"),
        ({"uniform_t": 0}, "uniform_t must be a finite number above 0"),
    ],
)
def test_wrong_objectives_are_refused(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        two_view.options(**changed)


def test_defaults_and_folder_are_the_references() -> None:
    chosen = two_view.options()
    assert (chosen.epochs, chosen.batch_size, chosen.dim, chosen.falls) == (
        200,
        768,
        128,
        (155, 170, 185),
    )
    assert chosen.lr == pytest.approx(0.12 * 768 / 256)
    assert (chosen.momentum, chosen.weight_decay) == (0.9, 1e-4)
    assert chosen.folder.name == "stl10-two-view-align1alpha2_unif1t2"
    assert (
        two_view.options(contrastive_weight=1, align_weight=0.5).folder.name
        == "stl10-two-view-align0.5alpha2_unif1t2_contr1tau0.5"
    )


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"queue": 1000}, "queue must be a multiple of batch_size, 128, since .*, got 1000; 1024 is near"),
        ({"queue": 0}, "queue must be a multiple of batch_size, 128, since .*, got 0; 128 is near"),
        ({"key_momentum": 1.0}, r"key_momentum must be at least 0 and below 1, got 1\.0"),
        ({"keep_every": -1}, "keep_every must not be negative, got -1"),
        ({"arch": "small-conv", "mlp": True}, "mlp is a head of ResNets, and small-conv has one of its own"),
        (
            {"data": "digits", "aug_plus": True},
            "aug_plus is for an imagefolder, and digits has views of its own",
        ),
        (
            {"data": "stl10"},
            "data must be one of 'fashion-mnist', 'cifar10', 'imagefolder', 'digits', got 'stl10'",
        ),
        ({"align_weight": 0, "uniform_weight": 0}, "the weights must be finite, not negative, and not all 0"),
    ],
)
def test_wrong_options_of_moco_are_refused(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        moco.options(**changed)


def test_a_queue_that_does_not_fit_is_told_before_anything_starts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert (
        main(
            [
                "pretrain",
                "moco",
                "--preset",
                "fashion-mnist",
                "--queue",
                "4000",
                "--out",
                str(tmp_path / "out"),
            ]
        )
        == 1
    )
    assert capsys.readouterr().err.startswith(
        "align-uniform: --queue must be a multiple of --batch-size, 256,"
    )
    assert not (tmp_path / "out").exists()


def test_presets_are_the_references_runs() -> None:
    chosen = moco.options()
    assert (chosen.arch, chosen.dim, chosen.queue, chosen.key_momentum) == ("resnet50", 128, 65536, 0.999)
    assert (chosen.epochs, chosen.batch_size, chosen.lr, chosen.schedule) == (200, 128, 0.03, "step")
    assert (chosen.falls, chosen.momentum, chosen.weight_decay) == ((120, 160), 0.9, 1e-4)
    assert (chosen.mlp, chosen.aug_plus, chosen.intra_batch, chosen.local_losses) == (
        False,
        False,
        True,
        False,
    )
    assert chosen.folder.name == "imagenet-100-moco-align3alpha2_unif1t3"
    whole = moco.options("imagenet")
    assert (whole.mlp, whole.aug_plus, whole.schedule, whole.batch_size, whole.lr) == (
        True,
        True,
        "cosine",
        256,
        0.03,
    )
    assert (whole.align_weight, whole.uniform_weight, whole.uniform_t, whole.contrastive_weight) == (
        3,
        1,
        3,
        0,
    )
    assert (
        moco.options("imagenet-moco-v2").folder.name
        == "imagenet-moco-v2-moco-align0alpha2_unif0t3_contr1tau0.2"
    )
    assert (
        moco.options(intra_batch=False).folder.name == "imagenet-100-moco-align3alpha2_unif1t3_nointrabatch"
    )
    small = moco.options("fashion-mnist")
    assert (small.arch, small.dim, small.queue, small.batch_size) == ("small-conv", 64, 4096, 256)


@pytest.mark.parametrize(
    ("epochs", "falls"), [(200, (155, 170, 185)), (40, (31, 34, 37)), (20, (16, 17, 18)), (2, ()), (1, ())]
)
def test_milestones_are_in_proportion_to_the_epochs(epochs: int, falls: tuple[int, ...]) -> None:
    chosen = two_view.options("imagefolder", epochs=epochs)
    assert chosen.falls == falls
    assert chosen.lr_at(epochs - 1) == pytest.approx(chosen.lr / 10 ** len(falls))
    assert chosen.course()["milestones"] == list(falls)
    assert moco.options("imagenet-100", epochs=50).falls == (30, 40)


def test_milestones_that_are_given_are_kept(capsys: pytest.CaptureFixture[str]) -> None:
    assert two_view.options("imagefolder", epochs=40, milestones=(10,)).falls == (10,)
    assert two_view.options("imagefolder", epochs=40, milestones=()).falls == ()
    assert main(["pretrain", "two-view", "--epochs", "40", "--milestones", "10", "20", "--print-config"]) == 0
    assert "milestones:\n- 10\n- 20\n" in capsys.readouterr().out


def test_the_rate_is_said_in_words() -> None:
    assert (
        two_view.options("imagefolder", epochs=40).rate == "0.12, a tenth after each of the epochs 31, 34, 37"
    )
    assert two_view.options("imagefolder", epochs=1).rate == "0.12, constant"
    assert two_view.options("digits").rate == "0.12, falling to 0 along a cosine"


def test_flags_of_the_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    printed = []
    chosen = ["--no-intra-batch", "--mlp", "--start", "checkpoint_0000.pth.tar"]
    for given in ([], chosen, ["--preset", "imagenet", "--no-mlp"]):
        assert main(["pretrain", "moco", *given, "--print-config"]) == 0
        printed.append(capsys.readouterr().out.splitlines())
    assert {"intra_batch: true", "mlp: false"} <= set(printed[0])
    assert not any(line.startswith("start") for line in printed[0])
    assert {"intra_batch: false", "mlp: true", "start: checkpoint_0000.pth.tar"} <= set(printed[1])
    assert {"mlp: false", "aug_plus: true"} <= set(printed[2])  # a flag of the preset is switched off
