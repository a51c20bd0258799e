# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Training of a sharded model: the losses and weights of one process, and of DDP, with the joined batch."""

import copy

import pytest
import torch
from mmengine.logging import MessageHub
from mmengine.model import MMDistributedDataParallel
from mmpretrain.structures import DataSample
from torch.distributed.tensor import DTensor

from vicmae.checkpoints.fit import load_weights
from vicmae.checkpoints.state import collect_state
from vicmae.engine.optimizers import GuardedOptimWrapper
from vicmae.engine.sharding import FullyShard
from vicmae.errors import ConfigError
from vicmae.registry import MODELS
from vicmae.testing import randomize, toy_vicmae_config
from vicmae.utils.distributed import rank_and_world_size

PAIRS, STEPS = 4, 5
PROJECTOR = dict(type='MLPHead', hidden_dim=16, out_dim=8, norm='SyncBN')
TEACHER = dict(
    projector=PROJECTOR, target=dict(type='EMATarget'), head=dict(contrastive='CosineLoss')
)
ACCUMULATED = dict(optim=dict(accumulative_counts=2))  # of 5 steps, the last alone
# Of the model, the optimiser's wrapper, and the model's.
CASES = {
    'paper': dict(),
    'teacher': TEACHER,
    'teacher, layers stay together': dict(**TEACHER, wrap=dict(reshard_after_forward=False)),
    'evaluated in between': dict(**TEACHER, evaluate=True),
    'GeM and VICReg': dict(aggregator=dict(type='GeMPooling'), head=dict(contrastive='VICRegLoss')),
    'attention pooling': dict(aggregator=dict(type='AttentionPooling', num_heads=2)),
    'latent prediction, cached': dict(
        head=dict(reconstruction='LatentPredictionLoss'),
        contrastive_cache=dict(type='ContrastiveCache', num_parts=2),
    ),
    'cached': dict(contrastive_cache=dict(type='ContrastiveCache', num_parts=2)),
    'checkpointed': dict(backbone=dict(with_cp=True), neck=dict(with_cp=True)),
    'accumulated': ACCUMULATED,
    'accumulated, with a teacher': dict(**TEACHER, **ACCUMULATED),
    'clipped': dict(optim=dict(clip_grad=dict(max_norm=0.05))),
    'clipped by value': dict(optim=dict(clip_grad=dict(type='value', clip_value=1e-3))),
}


def config_of(case):
    config = {**toy_vicmae_config(norm='SyncBN'), 'data_preprocessor': None}
    for name in ('backbone', 'neck'):
        config[name] = {**config[name], **case.get(name, {})}
    for name in ('projector', 'target', 'aggregator', 'contrastive_cache'):
        config[name] = case.get(name, config.get(name))
    loss = case.get('head', {}).get('contrastive', 'InfoNCELoss')
    config['head'] = {**config['head'], 'contrastive': dict(type=loss), 'contrastive_weight': 1.0}
    if 'reconstruction' in case.get('head', {}):
        config['head']['reconstruction'] = dict(type=case['head']['reconstruction'])
    return config


def wrap(kind, model, **options):
    if kind == 'one':
        return model
    return FullyShard(model, **options) if kind == 'sharded' else MMDistributedDataParallel(model)


def build(config, dtype=torch.float64):
    """A model whose weights are others on each rank."""
    torch.manual_seed(rank_and_world_size()[0])
    return MODELS.build(config).to(dtype)


def train(kind, case, weights, batches, noise):
    """Steps on this rank's share of samples: batches of views (V, B, C, H, W), noise (V, B, N)."""
    rank, world_size = rank_and_world_size()
    model = build(config_of(case), batches.dtype)
    wrapped = wrap(kind, model, **case.get('wrap', {}))
    load_weights(wrapped, weights, source='a.pth')
    # A large `eps`: of the bias in front of a batch norm, the gradient is rounding alone, which would be a whole step.
    adamw = torch.optim.AdamW(wrapped.parameters(), lr=1e-2, eps=1e-3)
    options = copy.deepcopy(case.get('optim', {}))  # the wrapper takes `type` out
    optim = GuardedOptimWrapper(adamw, **options)
    optim.initialize_count_status(model, 0, STEPS)
    if model.teachers:
        optim.optimizer.register_step_post_hook(lambda *_: model.update_target(0.9))
    losses = []
    for views, draws in zip(batches, noise, strict=True):
        share = draws.chunk(world_size, dim=1)[rank].flatten(0, 1)
        model.backbone.masking.noise = lambda *_, share=share: share
        local = list(views.chunk(world_size, dim=1)[rank])
        losses.append(wrapped.train_step(dict(inputs=local), optim)['loss'].item())
        if case.get('evaluate'):
            evaluate(wrapped, local)
    norms = MessageHub.get_current_instance().log_scalars.get('train/grad_norm')
    norm = norms.current() if case == CASES['clipped'] else None
    return losses, collect_state(wrapped, optim), norm


@torch.no_grad()
def evaluate(wrapped, clips):
    wrapped.eval().val_step(dict(inputs=clips, data_samples=[DataSample() for _ in clips]))
    wrapped.train()


def start(case):
    """Weights, batches and noise, in float64, where a difference is a mistake and not rounding."""
    model = randomize(build(config_of(case)))
    batches = torch.randn(STEPS, 2, PAIRS, 3, 16, 16, dtype=torch.float64)
    return model.state_dict(), batches, torch.rand(STEPS, 2, PAIRS, 16)


def assert_same_state(state, expected, **close):
    assert state.keys() == expected.keys()
    for name in state['state_dict']:
        pair = state['state_dict'][name], expected['state_dict'][name]
        torch.testing.assert_close(*pair, **close, msg=lambda text, name=name: f'{name}: {text}')
    assert list(state['state_dict']) == list(expected['state_dict'])
    ours, theirs = state['optimizer'], expected['optimizer']
    assert ours['param_groups'] == theirs['param_groups']
    assert ours['state'].keys() == theirs['state'].keys()
    for number, moments in ours['state'].items():
        assert moments.keys() == theirs['state'][number].keys()
        for name, value in moments.items():
            torch.testing.assert_close(value, theirs['state'][number][name], **close)


@pytest.mark.parametrize(
    'case',
    [
        pytest.param(case, id=name, marks=[pytest.mark.slow] * (name != 'teacher'))
        for name, case in CASES.items()
    ],
)
def test_losses_and_updates_equal_one_process_and_ddp(gloo_pool, case):
    arguments = (case, *start(case))
    losses, expected, norm = train('one', *arguments)
    assert losses[0] != pytest.approx(losses[-1], rel=1e-3)
    for kind in ('sharded', 'ddp'):
        results = gloo_pool.run(train, 2, kind, *arguments)
        means = [sum(pair) / 2 for pair in zip(*(r[0] for r in results), strict=True)]
        assert means == pytest.approx(losses, rel=1e-9)
        # Behind AdamW, whose first steps are as long for a gradient of 1e-9 as for one of 1.
        assert_same_state(results[0][1], expected, rtol=1e-9, atol=1e-10)
        if norm is not None:
            assert [r[2] for r in results] == pytest.approx([norm] * 2, rel=1e-9)


@pytest.mark.slow
def test_three_ranks_equal_one(gloo_pool):
    case = CASES['teacher']
    weights, *data = start(case)
    data = [torch.cat([d, d[:, :, :2]], dim=2) for d in data]  # six pairs
    losses, expected, _ = train('one', case, weights, *data)
    for world_size in (1, 3):
        results = gloo_pool.run(train, world_size, 'sharded', case, weights, *data)
        means = [sum(row) / world_size for row in zip(*(r[0] for r in results), strict=True)]
        assert means == pytest.approx(losses, rel=1e-9)
        assert_same_state(results[0][1], expected, rtol=1e-9, atol=1e-10)


def sizes():
    """Elements that a rank holds between steps, of weights, gradients and moments, and elements in all."""
    wrapped = FullyShard(build(config_of(TEACHER), torch.float32))
    optim = GuardedOptimWrapper(torch.optim.AdamW(wrapped.parameters()))
    wrapped.train_step(dict(inputs=list(torch.rand(2, 4, 3, 16, 16))), optim)
    assert all(isinstance(p, DTensor) for p in wrapped.parameters())
    trained = [p for p in wrapped.parameters() if p.requires_grad]
    moments = [s['exp_avg'] for s in optim.optimizer.state.values()]
    count = lambda tensors: sum(t.to_local().numel() for t in tensors)  # noqa: E731
    return (
        count(wrapped.parameters()) / sum(p.numel() for p in wrapped.parameters()),
        count(moments) / sum(p.numel() for p in trained),
    )


def test_each_rank_has_its_shard(gloo_pool):
    for shares in gloo_pool.run(sizes, 2):
        assert all(0.4 < share < 0.6 for share in shares)  # tokens (1, 1, D) are on one


def steps_of_two():
    """How many weights have a sharded gradient after each of two accumulated steps' backward passes."""
    wrapped = FullyShard(build(config_of({}), torch.float32))
    optim = GuardedOptimWrapper(
        torch.optim.SGD(wrapped.parameters(), lr=0.0), accumulative_counts=2
    )
    optim.zero_grad = lambda: None
    counts = []
    for _ in range(2):
        wrapped.train_step(dict(inputs=list(torch.rand(2, 4, 3, 16, 16))), optim)
        counts.append(sum(p.grad is not None for p in wrapped.parameters()))
    return counts, sum(p.requires_grad for p in wrapped.parameters())


@pytest.mark.slow
def test_accumulated_gradients_are_reduced_once(gloo_pool):
    for counts, number in gloo_pool.run(steps_of_two, 2):
        assert counts == [0, number]


def layers_after_forward(options):
    """Which layers of encoder and decoder are taken apart after a forward pass, and which after a backward pass."""
    model = build(config_of({}), torch.float32)
    wrapped = FullyShard(model, **options)
    layers = [*model.backbone.layers, *model.neck.decoder_blocks]
    sharded = lambda: [isinstance(next(layer.parameters()), DTensor) for layer in layers]  # noqa: E731
    losses = wrapped(list(torch.rand(2, 4, 3, 16, 16)), mode='loss')
    after_forward = sharded()
    model.parse_losses(losses)[0].backward()
    return after_forward, sharded()


@pytest.mark.slow
def test_layers_are_resharded_after_forward_unless_disabled(gloo_pool):
    for options, expected in [({}, True), (dict(reshard_after_forward=False), False)]:
        for after_forward, after_backward in gloo_pool.run(layers_after_forward, 2, options):
            assert after_forward == [expected] * 3
            assert after_backward == [True] * 3


def compiled_losses(config, compiled):
    model = build(config, torch.float32)
    wrapped = FullyShard(model)
    if compiled:
        model.compile_layers(backend='aot_eager')
    optim = GuardedOptimWrapper(torch.optim.SGD(wrapped.parameters(), lr=0.1))
    losses = []
    for step in range(3):
        torch.manual_seed(step)
        batch = list(torch.rand(2, 4, 3, 16, 16))
        losses.append(wrapped.train_step(dict(inputs=batch), optim)['loss'].item())
    return losses


@pytest.mark.slow
@pytest.mark.parametrize('case', [{}, TEACHER], ids=['paper', 'teacher'])
def test_compiled_layers_have_the_losses_of_plain_ones(gloo_pool, case):
    plain, compiled = (gloo_pool.run(compiled_losses, 2, config_of(case), c) for c in (False, True))
    assert compiled == [pytest.approx(losses, rel=1e-5) for losses in plain]


def precisions(mixed_precision, batch):
    """What layers and heads compute in, and a loss; the same weights on each call."""
    model = build(config_of({}), torch.float32)
    wrapped = FullyShard(model, mixed_precision=mixed_precision)
    optim = GuardedOptimWrapper(torch.optim.AdamW(wrapped.parameters(), lr=1e-3))
    seen = {}

    def watch(name):
        def see(module, inputs, output):
            weight = next(module.parameters())
            seen[name] = {inputs[0].dtype, weight.dtype, output.dtype}

        return see

    layers = model.backbone.layers[0], model.neck.decoder_blocks[0]
    for name, module in [
        *((f'layer {i}', layer.ffn.layers[1]) for i, layer in enumerate(layers)),
        *((f'head {i}', head[0]) for i, head in enumerate([model.predictor, model.target.head])),
        ('last', model.neck.decoder_pred),
    ]:
        module.register_forward_hook(watch(name))
    torch.manual_seed(0)
    loss = wrapped.train_step(dict(inputs=list(batch)), optim)['reconstruction'].item()
    kept = {p.dtype for p in wrapped.parameters()} | {p.grad.dtype for p in trained(wrapped)}
    return seen, kept, loss


def trained(model):
    return [p for p in model.parameters() if p.grad is not None]


@pytest.mark.slow
@pytest.mark.parametrize('half', ['bfloat16', 'float16'])
def test_layers_compute_in_half_precision_and_the_rest_in_float32(gloo_pool, half):
    batch = torch.rand(2, 4, 3, 16, 16)
    results = gloo_pool.run(precisions, 2, half, batch)
    plain = gloo_pool.run(precisions, 2, None, batch)
    for (seen, kept, loss), (_, _, exact) in zip(results, plain, strict=True):
        for name, dtypes in seen.items():
            wanted = getattr(torch, half) if name.startswith('layer') else torch.float32
            assert dtypes == {wanted}, name
        assert kept == {torch.float32}
        assert loss == pytest.approx(exact, rel=0.01)
        assert loss != exact


def test_unknown_precision_is_refused():
    with pytest.raises(ConfigError, match=r'mixed_precision` must be bfloat16, float16 or None'):
        FullyShard(MODELS.build(config_of({})), mixed_precision='float32')
