# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Each loss in half precision and float32 against float64 of the same rounded inputs."""

import pytest
import torch

from vicmae.models.losses import (
    CosineLoss,
    InfoNCELoss,
    LatentPredictionLoss,
    PixelReconstructionLoss,
    SIGRegLoss,
    VICRegLoss,
)
from vicmae.models.losses.precision import full_precision

LOSSES = {
    'InfoNCE': InfoNCELoss(temperature=0.05),
    'VICReg': VICRegLoss(),
    'Cosine': CosineLoss(),
    'SIGReg': SIGRegLoss(num_slices=16).eval(),  # with the same directions
    'tokens': LatentPredictionLoss(),
    'pixels': PixelReconstructionLoss(norm_pix=False),
    'normalised pixels': PixelReconstructionLoss(norm_pix=True),
}
DTYPES = [torch.float32, torch.bfloat16, torch.float16]


@pytest.fixture(params=LOSSES, ids=str)
def loss(request):
    return LOSSES[request.param]


def value_and_gradients(loss, inputs, dtype, autocast=None):
    inputs = [x.detach().to(dtype).requires_grad_() for x in inputs]
    with torch.autocast('cpu', autocast, enabled=autocast is not None):
        value = loss(*inputs)
    value.backward()
    return value.detach(), [x.grad for x in inputs]


def agree(gradient, exact):
    """Whether a gradient is the exact one after float32 arithmetic and one rounding to its own dtype."""
    numbers = torch.finfo(gradient.dtype)
    scale = exact.abs().max().item()
    smallest = 6e-8 if gradient.dtype == torch.float16 else 0  # of float16, below which is zero
    error = (gradient.double() - exact).abs()
    return (error <= numbers.eps * exact.abs() + 1e-5 * scale + smallest).all()


@pytest.mark.parametrize('dtype', DTYPES)
def test_value_and_gradients_equal_float64_up_to_rounding(loss, dtype):
    inputs = [x.to(dtype) for x in torch.randn(2, 2, 32, 16)]
    exact, exact_gradients = value_and_gradients(loss, inputs, torch.float64)
    value, gradients = value_and_gradients(loss, inputs, dtype)
    assert (value.dtype, exact.dtype) == (torch.float32, torch.float64)
    assert value.item() == pytest.approx(exact.item(), rel=1e-5)
    for gradient, exact_gradient in zip(gradients, exact_gradients, strict=True):
        assert gradient.dtype == dtype
        assert exact_gradient.abs().max() > 1e-4
        assert agree(gradient, exact_gradient)


@pytest.mark.parametrize('autocast', [torch.bfloat16, torch.float16])
@pytest.mark.parametrize('dtype', [*DTYPES, torch.float64])
def test_autocast_changes_nothing(loss, dtype, autocast):
    inputs = torch.randn(2, 2, 32, 16)
    value, gradients = value_and_gradients(loss, inputs, dtype)
    in_autocast, gradients_in_autocast = value_and_gradients(loss, inputs, dtype, autocast)
    assert torch.equal(in_autocast, value)
    assert all(map(torch.equal, gradients_in_autocast, gradients))


@pytest.mark.parametrize('dtype', DTYPES)
def test_the_largest_numbers_of_float16_stay_finite(loss, dtype):
    inputs = [x.to(dtype) for x in 6e4 * torch.randn(2, 2, 32, 16).sign()]
    exact, _ = value_and_gradients(loss, inputs, torch.float64)
    value, gradients = value_and_gradients(loss, inputs, dtype)
    assert value.item() == pytest.approx(exact.item(), rel=1e-5)
    # The true gradient of VICReg is larger than 65504.
    if not (isinstance(loss, VICRegLoss) and dtype == torch.float16):
        assert all(gradient.isfinite().all() for gradient in gradients)


@pytest.mark.parametrize('loss', [InfoNCELoss(), VICRegLoss(), CosineLoss(), SIGRegLoss()])
def test_other_than_two_views_of_equal_shape_are_refused(loss):
    views = torch.randn(3, 4, 8)
    with pytest.raises(ValueError, match=r'must have the shape \(2, B, E\), got \(3, 4, 8\)'):
        loss(views, views)
    message = r'the same shape, got \(2, 4, 8\) and \(2, 4, 1\). Set the same'
    with pytest.raises(ValueError, match=message):
        loss(views[:2], views[:2, :, :1])


def test_small_loss_at_low_temperature_is_not_rounded_to_zero():
    z = torch.eye(16).expand(2, 16, 16).half()
    value, _ = value_and_gradients(InfoNCELoss(temperature=0.05), [z, z], torch.float16)
    exact, _ = value_and_gradients(InfoNCELoss(temperature=0.05), [z, z], torch.float64)
    assert 0 < exact < 1e-7
    assert value.item() == pytest.approx(exact.item(), abs=1e-7)


def test_tensors_are_converted_to_the_widest_dtype():
    def dtypes(*given):
        with full_precision(*(torch.zeros(1, dtype=dtype) for dtype in given)) as tensors:
            return [tensor.dtype for tensor in tensors]

    assert dtypes(torch.float16, torch.bfloat16) == [torch.float32] * 2
    assert dtypes(torch.bfloat16, torch.float32) == [torch.float32] * 2
    assert dtypes(torch.float16, torch.float64) == [torch.float64] * 2
    assert dtypes(torch.float16, torch.uint8) == [torch.float32] * 2
