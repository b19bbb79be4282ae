"""What must hold for any weights and any views: the laws of the model, on both presets.

A forward pass of the `paper` preset takes seconds, so its laws look at one pair each and run last.
"""

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from disasym.model import PRESETS, DisAsymNet, ModelOutputs, class_activation
from disasym.spec import OUTPUTS, output_shapes
from networks import lively, pairs_for
from tolerances import tolerance

PER_SIDE = ("abnormal", "cam", "normal", "abnormality")
BOTH = pytest.mark.parametrize("preset", ["small", pytest.param("paper", marks=pytest.mark.slow)])


def views_for(preset: str, seed: int) -> Tensor:
    """Two pairs of `small`, one of `paper`."""
    return torch.from_numpy(pairs_for(preset, 2 if preset == "small" else 1, seed))


def run(preset: str, views: Tensor, seed: int = 0) -> ModelOutputs:
    with torch.inference_mode():
        outputs: ModelOutputs = lively(preset, seed)(views)
    return outputs


def law(examples: int) -> Callable[[Callable[[str, int, int], None]], Callable[[str], None]]:
    """Search for a network and views that break a law(preset, weights, seed); `paper` is tried once."""

    def decorated(holds: Callable[[str, int, int], None]) -> Callable[[str], None]:
        @BOTH
        def test(preset: str) -> None:
            small = preset == "small"

            @settings(max_examples=examples if small else 1)
            @given(weights=st.integers(0, 2 if small else 0), seed=st.integers(0, 2**32 - 1))
            def search(weights: int, seed: int) -> None:
                holds(preset, weights, seed)

            search()

        test.__name__ = holds.__name__
        return test

    return decorated


@law(examples=5)
def test_swapping_the_sides_swaps_every_output_of_a_side_and_leaves_asymmetry(
    preset: str, weights: int, seed: int
) -> None:
    views = views_for(preset, seed)
    straight, swapped = run(preset, views, weights), run(preset, views.flip(1), weights)
    for name in PER_SIDE:
        assert (getattr(straight, name) - getattr(swapped, name).flip(1)).abs().max() <= tolerance("swap law"), name
    assert (straight.asymmetry - swapped.asymmetry).abs().max() <= tolerance("swap law")


@law(examples=5)
def test_identical_sides_give_sa_equal_to_ca_and_equal_outputs(preset: str, weights: int, seed: int) -> None:
    views = views_for(preset, seed)[:, :1].expand(-1, 2, -1, -1)
    seen: list[Tensor] = []
    model = lively(preset, weights)
    hooks = [
        block.get_submodule("fuse_attention").register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
        for block in model.asyc.blocks
    ]
    outputs = run(preset, views, weights)
    for hook in hooks:
        hook.remove()
    assert len(seen) == PRESETS[preset].blocks
    for attention in seen:
        self_attention, cross_attention = attention.chunk(2, dim=-1)
        assert (self_attention - cross_attention).abs().max() <= tolerance("identical sides")
    for name in PER_SIDE:
        value = getattr(outputs, name)
        assert (value[:, 0] - value[:, 1]).abs().max() <= tolerance("identical sides"), name
    no_difference = model.asyc.asymmetry.get_parameter("bias").sigmoid()
    assert (outputs.asymmetry - no_difference).abs().max() <= tolerance("identical sides")


@law(examples=5)
def test_outputs_lie_in_0_1_and_the_background_is_exactly_0(preset: str, weights: int, seed: int) -> None:
    views = views_for(preset, seed)
    outputs = run(preset, views, weights)
    config = PRESETS[preset]
    for name, shape in output_shapes(len(views), config.height, config.width).items():
        value = getattr(outputs, name)
        assert (value.shape, value.dtype) == (shape, torch.float32), name
        assert torch.isfinite(value).all(), name
        assert value.min() >= 0, name
        assert value.max() <= 1, name
    assert outputs.normal is not None
    assert outputs.abnormality is not None
    background = views == 0
    assert background.any()
    assert not outputs.normal[background].any()
    assert not outputs.abnormality[background].any()
    assert outputs.normal[~background].all()


@law(examples=5)
def test_a_cam_peaks_at_the_probability_of_its_side_or_is_cold(preset: str, weights: int, seed: int) -> None:
    outputs = run(preset, views_for(preset, seed), weights)
    peaks = outputs.cam.amax((-1, -2))
    assert torch.logical_or(peaks == 0, (peaks - outputs.abnormal).abs() <= 1e-6).all()
    assert (peaks > 0).any(), "a network whose maps are all cold tests nothing"


@law(examples=3)
def test_a_pair_does_not_see_the_others_of_its_batch(preset: str, weights: int, seed: int) -> None:
    views = views_for(preset, seed)
    if preset == "paper":
        views = torch.cat([views, views.flip(1)])
    together = run(preset, views, weights)
    for place in range(len(views)):
        alone = run(preset, views[place : place + 1], weights)
        for name in OUTPUTS:
            delta = (getattr(together, name)[place] - getattr(alone, name)[0]).abs().max()
            assert delta <= tolerance("batch of one vs many"), name


def test_views_without_any_breast_give_finite_outputs_and_empty_images() -> None:
    outputs = run("small", torch.zeros(1, 2, 256, 128))
    assert all(torch.isfinite(getattr(outputs, name)).all() for name in OUTPUTS)
    assert outputs.normal is not None
    assert outputs.abnormality is not None
    assert not outputs.normal.any()
    assert not outputs.abnormality.any()


def test_an_untrained_network_returns_the_views_as_normal() -> None:
    torch.manual_seed(0)
    views = views_for("small", 0)
    with torch.inference_mode():
        outputs = DisAsymNet(PRESETS["small"]).eval()(views)
    inside = views > 1 / 1024  # below that the logit is clamped
    assert (outputs.normal - views)[inside].abs().max() <= 1e-3  # up to 1/1024 at white, where it is clamped too


def test_class_activation_worked_out_by_hand() -> None:
    """Tokens · w = (−1, 1, 3, 2): ReLU (0, 1, 3, 2), over its range 3. Two equal tokens have no range: cold."""
    weight = torch.tensor([1.0, -1.0])
    right = torch.tensor([[0.0, 1.0], [1.0, 0.0], [5.0, 2.0], [0.0, -2.0]])
    left = torch.tensor([[2.0, 1.0]] * 4)
    cam = class_activation(torch.stack([right, left])[None], weight)
    wanted = torch.tensor([[0, 1 / 3, 1, 2 / 3], [0, 0, 0, 0]])
    torch.testing.assert_close(cam[0], wanted)
