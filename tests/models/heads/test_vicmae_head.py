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


def make_inputs():
    return [torch.randn(8, 5, 6) for _ in range(2)] + [torch.randn(2, 4, 3) for _ in range(2)]


def test_what_is_differentiated_is_the_weighted_sum_of_both_losses():
    head = make_head(reconstruction_weight=0.97, contrastive_weight=0.03)
    predicted, patches, predictions, targets = make_inputs()
    losses = head.loss(predicted, patches, predictions, targets)
    total, logged = HeadAlone().parse_losses(losses)
    expected = 0.97 * head.reconstruction(predicted, patches)
    expected = expected + 0.03 * head.contrastive(predictions, targets)
    torch.testing.assert_close(total, expected)
    torch.testing.assert_close(logged['loss'], expected)


def test_log_has_the_losses_without_weights_and_without_gradients():
    head = make_head(reconstruction_weight=0.5, contrastive_weight=0.25)
    inputs = [x.requires_grad_() for x in make_inputs()]
    losses = head.loss(*inputs)
    torch.testing.assert_close(losses['loss_reconstruction'], 0.5 * losses['reconstruction'])
    torch.testing.assert_close(losses['loss_contrastive'], 0.25 * losses['contrastive'])
    assert losses['contrastive_weight'].item() == 0.25
    with_gradient = {name for name, value in losses.items() if value.requires_grad}
    assert with_gradient == {'loss_reconstruction', 'loss_contrastive'}


def test_weight_that_a_hook_changes_holds_from_the_next_step_on():
    head, inputs = make_head(contrastive_weight=0.03), make_inputs()
    before = head.loss(*inputs)['loss_contrastive']
    head.contrastive_weight = 0.06
    torch.testing.assert_close(head.loss(*inputs)['loss_contrastive'], 2 * before)


def test_weight_of_zero_leaves_the_encoder_to_the_reconstruction():
    head = make_head(contrastive_weight=0.0)
    inputs = [x.requires_grad_() for x in make_inputs()]
    HeadAlone().parse_losses(head.loss(*inputs))[0].backward()
    assert inputs[0].grad.abs().sum() > 0
    assert inputs[2].grad.eq(0).all() and inputs[3].grad.eq(0).all()


@pytest.mark.parametrize('name', ['reconstruction_weight', 'contrastive_weight'])
def test_negative_weight_is_refused(name):
    with pytest.raises(ValueError, match=f'`{name}` must not be negative, got -0.5'):
        make_head(**{name: -0.5})
