"""The loop: interrupted anywhere, it ends with the same bits; and it learns."""

import dataclasses
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from supernet.arch import Arch
from supernet.checkpoints import weights_digest
from supernet.data.coco import KeypointDataset
from supernet.data.loading import Batch, TrainingImages
from supernet.elastic_litepose import LitePoseSupernet
from supernet.errors import InputError
from supernet.training import trainer as trainer_module
from supernet.training.sandwich import StepResult, sandwich_step
from supernet.training.schedule import WarmupCosine, sandwich_archs
from supernet.training.trainer import CHECKPOINT_NAME, Trainer, TrainingSettings

CPU = torch.device("cpu")
MakeTrainer = Callable[..., Trainer]
MakeSettings = Callable[..., TrainingSettings]


@pytest.fixture
def make_trainer(
    make_supernet: Callable[[], LitePoseSupernet], images: TrainingImages, make_settings: MakeSettings, folder: Path
) -> MakeTrainer:
    """Make a trainer as a fresh process would, resumed if the folder has a checkpoint; keywords change the recipe."""

    def make(folder: Path = folder, images: TrainingImages = images, **changes: Any) -> Trainer:
        trainer = Trainer(make_supernet(), images, make_settings(**changes), folder=folder, device=CPU)
        trainer.resume()
        return trainer

    return make


def stop_after(steps: int, trainer: Trainer) -> Callable[[], bool]:
    return lambda: trainer.step >= steps


def metrics(folder: Path) -> list[dict[str, float]]:
    """Lines of the log without what depends on the clock."""
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert all(line.pop("images_per_second") > 0 for line in lines)
    return lines


def assert_equal_states(ours: object, theirs: object) -> None:
    if isinstance(ours, dict):
        assert isinstance(theirs, dict)
        assert list(ours) == list(theirs)
        for key in ours:
            assert_equal_states(ours[key], theirs[key])
    elif isinstance(ours, list):
        assert isinstance(theirs, list)
        for a, b in zip(ours, theirs, strict=True):
            assert_equal_states(a, b)
    elif isinstance(ours, Tensor):
        assert isinstance(theirs, Tensor)
        assert torch.equal(ours, theirs)
    else:
        assert ours == theirs


@pytest.mark.parametrize(("optimizer", "update"), [("adamw", "per_subnet"), ("adam", "per_sandwich")])
def test_an_interrupted_training_ends_with_the_same_bits(
    make_trainer: MakeTrainer, tmp_path: Path, optimizer: str, update: str
) -> None:
    recipe = {"steps": 7, "optimizer": optimizer, "update": update}
    whole = make_trainer(tmp_path / "whole", **recipe)
    assert whole.train()
    for until in (2, 5):
        part = make_trainer(tmp_path / "parts", **recipe)
        assert not part.train(should_stop=stop_after(until, part))
        assert part.step == until
    rest = make_trainer(tmp_path / "parts", **recipe)
    assert rest.step == 5
    assert rest.train()
    assert_equal_states(rest.state_dict(), whole.state_dict())
    assert metrics(tmp_path / "parts") == metrics(tmp_path / "whole")
    assert [line["step"] for line in metrics(tmp_path / "whole")] == list(range(7))


def test_a_kill_costs_only_the_steps_since_the_last_checkpoint(make_trainer: MakeTrainer, tmp_path: Path) -> None:
    class KilledError(Exception):
        pass

    def kill(step: int, result: StepResult) -> None:
        if step == 5:
            raise KilledError

    whole = make_trainer(tmp_path / "whole")
    whole.train()
    killed = make_trainer(tmp_path / "killed", checkpoint_every=2)
    with pytest.raises(KilledError):
        killed.train(on_step=kill)
    assert [line["step"] for line in metrics(tmp_path / "killed")] == [0, 1, 2, 3, 4]
    rest = make_trainer(tmp_path / "killed", checkpoint_every=2)
    assert rest.step == 4
    rest.train()
    assert weights_digest(rest.supernet) == weights_digest(whole.supernet)
    assert metrics(tmp_path / "killed") == metrics(tmp_path / "whole")


def test_another_seed_trains_other_weights(make_trainer: MakeTrainer, tmp_path: Path) -> None:
    digests = set()
    for seed in (0, 1):
        trainer = make_trainer(tmp_path / str(seed), steps=1, seed=seed)
        trainer.train()
        digests.add(weights_digest(trainer.supernet))
    assert len(digests) == 2


def test_each_step_has_its_own_subnets_at_the_size_of_its_images(
    make_trainer: MakeTrainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[list[Arch], int]] = []

    def record(supernet: LitePoseSupernet, batch: Batch, archs: list[Arch], *rest: Any, **settings: Any) -> StepResult:
        seen.append((archs, batch.images.shape[-1]))
        return sandwich_step(supernet, batch, archs, *rest, **settings)

    monkeypatch.setattr(trainer_module, "sandwich_step", record)
    trainer = make_trainer(steps=4, num_random=2, seed=3)
    trainer.train()
    for step, (archs, size) in enumerate(seen):
        assert archs == sandwich_archs(trainer.supernet.space, num_random=2, seed=3, step=step)
        assert {arch.image_size for arch in archs} == {size}
    assert len({size for _, size in seen}) == 2


def test_a_finished_training_stays_as_it_is(make_trainer: MakeTrainer, folder: Path) -> None:
    first = make_trainer(steps=2)
    first.train()
    again = make_trainer(steps=2)
    assert again.train(on_step=lambda step, result: pytest.fail("nothing is left to do"))
    assert_equal_states(again.state_dict(), first.state_dict())
    assert len(metrics(folder)) == 2


def test_metrics_say_what_a_step_did(make_trainer: MakeTrainer, folder: Path) -> None:
    seen: list[tuple[int, list[float]]] = []
    trainer = make_trainer(steps=5, num_random=2, log_every=2)
    trainer.train(on_step=lambda step, result: seen.append((step, result.losses)))
    assert [step for step, _ in seen] == [1, 2, 3, 4, 5]
    lines = metrics(folder)
    assert [line["step"] for line in lines] == [1, 3, 4]
    rate = WarmupCosine(peak=0.004, steps=5)
    for line in lines:
        step = int(line["step"])
        named = [line[f"loss/{name}"] for name in ("largest", "smallest", "random0", "random1")]
        assert named == pytest.approx(seen[step][1], abs=1e-7)
        assert line["learning_rate"] == pytest.approx(rate(step), abs=1e-8)
        guided = 0.02 * (1 - 0.75 * step / 5) * line["largest/guide"]
        grouped = 0.002 * (line["largest/push"] + line["largest/pull"])
        assert line["loss/largest"] == pytest.approx(line["largest/heatmap"] + grouped + guided, abs=1e-6)
        assert line["bad_images"] == 0


@pytest.mark.parametrize("kept", [0, 1000, 0.5, -1])
def test_a_checkpoint_cut_short_is_named(make_trainer: MakeTrainer, folder: Path, kept: float) -> None:
    make_trainer(steps=1).train()
    path = folder / CHECKPOINT_NAME
    content = path.read_bytes()
    path.write_bytes(content[: int(kept * len(content)) if isinstance(kept, float) else kept])
    with pytest.raises(InputError, match=r"checkpoint\.pt: is damaged") as raised:
        make_trainer(steps=1)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("content", [{"step": 1}, [1, 2]])
def test_a_file_that_is_no_checkpoint_is_named(make_trainer: MakeTrainer, folder: Path, content: object) -> None:
    torch.save(content, folder / CHECKPOINT_NAME)
    with pytest.raises(InputError, match=r"checkpoint\.pt: is no training checkpoint"):
        make_trainer()


def test_a_loss_that_is_not_finite_names_the_step_and_spares_the_checkpoint(
    make_trainer: MakeTrainer, folder: Path
) -> None:
    trainer = make_trainer(checkpoint_every=1)

    def spoil(step: int, result: StepResult) -> None:
        if step == 3:
            with torch.no_grad():
                next(trainer.supernet.parameters()).fill_(math.nan)

    with pytest.raises(InputError, match=r"the gradient is not finite at step 3; .*learning_rate"):
        trainer.train(on_step=spoil, should_stop=lambda: False)
    assert torch.load(folder / CHECKPOINT_NAME, weights_only=True)["step"] == 3
    assert [line["step"] for line in metrics(folder)] == [0, 1, 2]


def test_images_that_do_not_decode_are_counted_once_each(
    people: KeypointDataset, make_trainer: MakeTrainer, tmp_path: Path
) -> None:
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"no image")
    records = [dataclasses.replace(people.records[0], path=broken), *people.records[1:4]]
    dataset = KeypointDataset(people.annotations_path, people.images_dir, people.skeleton, records, on_bad_image="skip")
    images = TrainingImages(dataset, augmentation=None)
    first = make_trainer(images=images, steps=6)
    first.train(should_stop=stop_after(4, first))
    rest = make_trainer(images=images, steps=6)
    rest.train()
    assert rest.bad_images == {str(broken)}
    assert [line["bad_images"] for line in metrics(rest.folder)][3:] == [1, 1, 1]
    dataset.on_bad_image = "error"
    with pytest.raises(InputError, match=r"broken\.jpg: does not decode"):
        make_trainer(tmp_path / "strict", images=images, steps=4).train()


def test_too_few_images_are_refused_before_anything_is_written(make_trainer: MakeTrainer, folder: Path) -> None:
    with pytest.raises(InputError, match="batch_size is 9; the training split has only 8 images"):
        make_trainer(batch_size=9)
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("steps", 0),
        ("steps", "many"),
        ("batch_size", 0),
        ("num_random", -1),
        ("workers", 1.5),
        ("log_every", 0),
        ("checkpoint_every", True),
        ("optimizer", "sgd"),
        ("update", "per_batch"),
    ],
)
def test_settings_out_of_range_are_named(make_settings: MakeSettings, field: str, value: object) -> None:
    with pytest.raises(InputError, match=f"{field} is {value!r}; "):
        make_settings(**{"learning_rate": WarmupCosine(0.01, 10), field: value})


def test_the_loss_falls_on_a_few_images(people: KeypointDataset, make_trainer: MakeTrainer) -> None:
    images = TrainingImages(people.first(4), augmentation=None)
    losses: list[list[float]] = []
    trainer = make_trainer(images=images, steps=50, batch_size=4, learning_rate=WarmupCosine(0.01, 50))
    trainer.train(on_step=lambda step, result: losses.append(result.losses))
    ratios = [last / first for first, last in zip(losses[0], losses[-1], strict=True)]
    assert ratios[0] < 0.5
    assert max(ratios) < 0.7
