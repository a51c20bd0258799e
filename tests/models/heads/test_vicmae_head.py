# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
import pytest
import torch
from mmengine.model import BaseModel

from vicmae.models.heads import ViCMAEHead
from vicmae.models.losses import InfoNCELoss, PixelReconstructionLoss


class HeadAlone(BaseModel):
    """MMEngine's own model, for its `parse_losses`."""

    def forward(self, inputs, data_samples=None, mode='tensor'):
        raise NotImplementedError  # abstract in MMEngine; only `parse_losses` is used here


def make_head(**weights):
    return ViCMAEHead(
        reconstruction=PixelReconstructionLoss(), contrastive=InfoNCELoss(0.1), **weights
    )


def make_values():
    return dict(
        reconstruction=torch.tensor(0.8, requires_grad=True),
        contrastive=torch.tensor(3.0, requires_grad=True),
    )


def test_gradient_is_that_of_the_weighted_sum_of_both_losses():
    head, values = make_head(reconstruction_weight=0.97, contrastive_weight=0.03), make_values()
    total, logged = HeadAlone().parse_losses(head.weigh(**values))
    assert total.item() == pytest.approx(0.97 * 0.8 + 0.03 * 3)
    assert logged['loss'].item() == total.item()
    total.backward()
    assert values['reconstruction'].grad.item() == pytest.approx(0.97)
    assert values['contrastive'].grad.item() == pytest.approx(0.03)


def test_unweighted_losses_are_logged_without_gradients():
    losses = make_head(reconstruction_weight=0.5, contrastive_weight=0.25).weigh(**make_values())
    assert losses['reconstruction'].item() == pytest.approx(0.8)
    assert losses['contrastive'].item() == pytest.approx(3)
    assert losses['contrastive_weight'].item() == 0.25
    with_gradient = {name for name, value in losses.items() if value.requires_grad}
    assert with_gradient == {'loss_reconstruction', 'loss_contrastive'}


def test_weight_changed_by_a_hook_applies_from_the_next_step():
    head, values = make_head(contrastive_weight=0.03), make_values()
    before = head.weigh(**values)['loss_contrastive']
    head.contrastive_weight = 0.06
    torch.testing.assert_close(head.weigh(**values)['loss_contrastive'], 2 * before)


@pytest.mark.parametrize('name', ['reconstruction', 'contrastive'])
def test_single_loss_is_weighted(name):
    values = make_values()
    head = ViCMAEHead(**{name: InfoNCELoss()}, reconstruction_weight=0.5, contrastive_weight=0.5)
    total, _ = HeadAlone().parse_losses(head.weigh(**{name: values[name]}))
    assert total.item() == pytest.approx(0.5 * values[name].item())


def test_head_without_any_loss_is_refused():
    with pytest.raises(ValueError, match='neither `reconstruction` nor `contrastive`. Set at'):
        ViCMAEHead()


@pytest.mark.parametrize('name', ['reconstruction_weight', 'contrastive_weight'])
def test_negative_weight_is_refused(name):
    with pytest.raises(ValueError, match=f'`{name}` must not be negative, got -0.5'):
        make_head(**{name: -0.5})
