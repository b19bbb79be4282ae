"""Each loss against a value worked out by hand."""

import math

import pytest
import torch

from disasym import losses


def test_classification_adds_the_pair_and_the_mean_of_both_sides() -> None:
    # σ(0) = 1/2 → ln 2; σ(ln 3) = 3/4 with label 1 → ln 4/3; σ(−ln 3) = 1/4 with label 1 → ln 4.
    asymmetry, abnormal = torch.tensor([0.0]), torch.tensor([[math.log(3), -math.log(3)]])
    expected = math.log(2) + (math.log(4 / 3) + math.log(4)) / 2
    assert losses.classification(asymmetry, abnormal, torch.ones(1, 3)).item() == pytest.approx(expected)


def test_classification_reads_the_labels_as_asymmetry_right_left() -> None:
    asymmetry, abnormal = torch.tensor([9.0]), torch.tensor([[-9.0, 9.0]])
    right_order = losses.classification(asymmetry, abnormal, torch.tensor([[1.0, 0.0, 1.0]]))
    sides_swapped = losses.classification(asymmetry, abnormal, torch.tensor([[1.0, 1.0, 0.0]]))
    assert right_order.item() < 1e-3
    assert sides_swapped.item() == pytest.approx(9.0, abs=1e-3)


def test_discrimination_is_classification_with_labels_zero() -> None:
    # −ln(1 − σ(ln 3)) = ln 4 for the pair; (ln 4 + ln 4/3)/2 for sides with logits ln 3 and −ln 3.
    labels = losses.no_abnormality(torch.ones(1, 3))
    value = losses.classification(torch.tensor([math.log(3)]), torch.tensor([[math.log(3), -math.log(3)]]), labels)
    assert value.item() == pytest.approx(math.log(4) + (math.log(4) + math.log(4 / 3)) / 2)


def test_reconstruction_keeps_what_is_outside_m_and_moves_what_is_inside() -> None:
    x, m = torch.tensor([0.8, 0.4]), torch.tensor([1.0, 0.25])
    normal, abnormality = torch.tensor([0.2, 0.5]), torch.tensor([0.6, 0.2])
    # kept: 0·0.6 and 0.75·0.1 → mean 0.0375; removed: |0.8 − 0.6| and |0.1 − 0.2| → mean 0.15
    assert losses.reconstruction(x, normal, abnormality, m).item() == pytest.approx(0.1875)


def test_synthesis_is_the_mean_distance_to_the_real_view() -> None:
    assert losses.synthesis(torch.tensor([0.5, 1.0]), torch.tensor([0.25, 0.9])).item() == pytest.approx(0.175)


def test_removal_weighs_the_paste_more_than_the_rest_of_its_breast() -> None:
    real = torch.tensor([[[[0.5, 0.5, 0.4, 0.0]], [[0.6, 0.6, 0.6, 0.6]]]])
    fake = torch.tensor([[[[0.9, 0.505, 0.4, 0.0]], [[0.6, 0.6, 0.6, 0.6]]]])
    normal = torch.tensor([[[[0.7, 0.52, 0.36, 0.0]], [[0.1, 0.1, 0.1, 0.1]]]])
    # pasted: 4·|0.5 − 0.7|, the second pixel changes by less than 0.01; rest of that breast: (0.02 + 0.04) / 2,
    # without the background; the other breast, wherever x_n goes there, asks nothing
    assert losses.removal(real, fake, normal).item() == pytest.approx(0.83)


def test_removal_is_a_mean_over_pairs_so_that_a_large_tumour_counts_like_a_small_one() -> None:
    real = torch.full((2, 2, 4, 4), 0.4)
    fake = real.clone()
    fake[0, 0, 0, 0] = 0.8  # one pixel
    fake[1, 1] = 0.5  # all of a breast
    # a pair each: 4·0.4 on the pixel and 0 elsewhere; 4·0.1 on the breast, and no rest
    assert losses.removal(real, fake, fake).item() == pytest.approx(1.0)
    assert losses.removal(real, fake, real).item() == 0


def test_the_gate_closes_on_a_normal_side_and_stops_the_gradient() -> None:
    cam = torch.ones(1, 2, 2, 2, requires_grad=True)
    gated = losses.gate(cam, torch.tensor([[1.0, 0.0, 1.0]]), (4, 4))
    assert gated.shape == (1, 2, 4, 4)
    assert not gated.requires_grad
    assert (gated[0, 0] == 0).all()
    assert (gated[0, 1] == 1).all()


def test_the_factors_of_objective_1_are_those_of_the_paper() -> None:
    assert losses.LossWeights() == losses.LossWeights(
        diagnosis=1.0, reconstruction=0.1, discrimination=1.0, synthesis=0.5
    )
