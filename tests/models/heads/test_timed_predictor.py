# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
import math

import numpy as np
import pytest
import torch
from torch import nn

from vicmae.errors import ConfigError
from vicmae.models.heads import MLPHead, TimedPredictor
from vicmae.registry import MODELS
from vicmae.testing import randomize, toy_vicmae_config

MLP = toy_vicmae_config()['predictor']
TIMED = dict(type='TimedPredictor', predictor=MLP)


def make_model(seed=None, **parts):
    torch.manual_seed(0)
    model = MODELS.build({**toy_vicmae_config(), **parts})
    model.init_weights()
    return model if seed is None else randomize(model, seed)


def make_batch(last, num_samples=6):
    """Two views of samples, and their times in seconds."""
    views = [torch.randn(num_samples, 3, 16, 16) for _ in range(2)]
    times = [torch.zeros(num_samples), torch.linspace(0, last, num_samples)]
    return dict(inputs=views, seeds=torch.arange(num_samples), times=times)


def test_embedding_of_time_equals_a_slow_reference():
    predictor = TimedPredictor(nn.Identity(), in_dim=5, periods=(0.5, 4.0))
    nn.init.normal_(predictor.time_embed.weight)
    seconds = np.array([-1.3, 0.0, 0.2, 7.0])
    weight = predictor.time_embed.weight.detach().double().numpy()
    expected = np.zeros((4, 5))
    for row, time in enumerate(seconds):
        for column in range(5):
            for f, period in enumerate((0.5, 4.0)):
                angle = 2 * math.pi * time / period
                expected[row, column] += weight[column, f] * math.sin(angle)
                expected[row, column] += weight[column, 2 + f] * (math.cos(angle) - 1)
    output = predictor(torch.zeros(4, 5), torch.tensor(seconds, dtype=torch.float32))
    np.testing.assert_allclose(output.detach().numpy(), expected, atol=1e-5)


def test_training_starts_as_without_the_time():
    batch = make_batch(last=1.3)
    timed, plain = make_model(predictor=TIMED), make_model()
    plain.load_state_dict(
        {k.replace('predictor.predictor.', 'predictor.'): v for k, v in timed.state_dict().items()},
        strict=False,
    )
    with_time, without = timed.loss(**batch), plain.loss(**batch)
    assert torch.equal(with_time['contrastive'], without['contrastive'])
    timed.parse_losses(with_time)[0].backward()
    assert timed.predictor.time_embed.weight.grad.abs().sum() > 0


def test_images_are_predicted_as_without_the_time():
    predictor = randomize(TimedPredictor(MLPHead(in_dim=6, norm=None), in_dim=6))
    embeddings = torch.randn(4, 6)
    assert torch.equal(predictor(embeddings, torch.zeros(4)), predictor.predictor(embeddings))


def test_each_view_gets_the_signed_time_to_the_other():
    model = make_model(seed=0, predictor=TIMED)
    received = []
    model.predictor.register_forward_hook(lambda _, args, __: received.append(args[1]))
    batch = make_batch(last=2.5)
    loss = model.loss(**batch)['contrastive']
    gaps = [0.0, 0.5, 1.0, 1.5, 2.0, 2.5]
    assert [time.tolist() for time in received] == [gaps, [-gap for gap in gaps]]
    other = model.loss(**{**batch, 'times': batch['times'][::-1]})['contrastive']
    assert received[2].tolist() == [-gap for gap in gaps]
    assert (other - loss).abs() > 1e-5


def test_batch_without_times_is_refused_with_the_fix():
    batch = make_batch(last=1.0)
    with pytest.raises(ConfigError, match=r"need the times .*type='PackViews', with_times=T"):
        make_model(predictor=TIMED).loss(batch['inputs'])


@pytest.mark.parametrize('target', ['SharedTarget', 'StopGradientTarget', 'EMATarget'])
def test_targets_with_the_time_are_refused(target):
    with pytest.raises(ValueError, match=f'{target} would compare .* Add a `projector`'):
        make_model(predictor=TIMED, target=dict(type=target))
    assert make_model(predictor={**TIMED}, projector=MLP, target=dict(type=target))


@pytest.mark.parametrize('periods', [(), (1.0, 0.0), (-2.0,), (float('inf'),)])
def test_wrong_periods_are_refused(periods):
    with pytest.raises(ValueError, match='`periods` must be positive numbers of seconds, got'):
        TimedPredictor(nn.Identity(), in_dim=4, periods=periods)
