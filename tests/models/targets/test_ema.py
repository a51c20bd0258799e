# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
import pytest
import torch

from vicmae.checkpoints.fit import load_weights
from vicmae.models.targets import EMATarget
from vicmae.registry import MODELS
from vicmae.testing import randomize, toy_vicmae_config

HEAD = dict(type='MLPHead', hidden_dim=16, out_dim=8)


def make_model(**parts):
    config = {**toy_vicmae_config(), 'target': dict(type='EMATarget'), **parts}
    model = MODELS.build(config)
    model.init_weights()
    return model


def make_views(num_samples=4):
    return [torch.randn(num_samples, 3, 16, 16) for _ in range(2)]


def fix_masks(model, num_samples=8):
    noise = torch.rand(num_samples, 16)
    model.backbone.masking.noise = lambda *_: noise


def parts_of(model):
    """Teacher's and student's parameters, by name."""
    embedder = 'projector' if len(list(model.projector.parameters())) else 'predictor'
    for name, teacher in model.target.named_parameters():
        student = name.replace('embedder', embedder, 1)
        yield name, teacher, model.get_parameter(student)


def test_teacher_starts_as_a_copy_of_the_student():
    pairs = list(parts_of(make_model()))
    assert {name.split('.')[0] for name, *_ in pairs} == {'backbone', 'embedder'}
    assert all(torch.equal(teacher, student) for _, teacher, student in pairs)
    assert not any(teacher.requires_grad for _, teacher, _ in pairs)


@pytest.mark.parametrize('momentum', [0.0, 0.9, 1.0])
def test_update_follows_the_formula_for_every_parameter(momentum):
    model = make_model()
    before = {name: teacher.clone() for name, teacher, _ in parts_of(model)}
    randomize(model)
    model.update_target(momentum)
    for name, teacher, student in parts_of(model):
        expected = momentum * before[name] + (1 - momentum) * student
        torch.testing.assert_close(teacher, expected, msg=name)


@pytest.mark.parametrize('projector', [None, HEAD])
def test_teacher_that_equals_its_student_gives_the_students_embeddings(projector):
    # Nothing but the gradient is missing then: it is the stop-gradient target.
    model = make_model(projector=projector)
    other = MODELS.build(
        {**toy_vicmae_config(), 'projector': projector, 'target': dict(type='StopGradientTarget')}
    )
    other.load_state_dict({k: v for k, v in model.state_dict().items() if k[:7] != 'target.'})
    views = make_views()
    fix_masks(model)
    other.backbone.masking.noise = model.backbone.masking.noise
    losses, expected = model.loss(views), other.loss(views)
    torch.testing.assert_close(losses['loss_contrastive'], expected['loss_contrastive'])
    gradients = []
    for m, values in [(model, losses), (other, expected)]:
        m.parse_losses(values)[0].backward()
        gradients.append({n: p.grad for n, p in m.named_parameters() if p.requires_grad})
    for name, gradient in gradients[1].items():
        torch.testing.assert_close(gradients[0][name], gradient, msg=name)


def test_teacher_can_see_whole_views():
    model = make_model(target=dict(type='EMATarget', masked=False))
    views = torch.cat(make_views())
    pooled = model.target.encode(views, None)
    torch.testing.assert_close(pooled, model.extract_feat(views))
    targets = model.target(None, None, pooled.unflatten(0, (2, 4)))
    torch.testing.assert_close(targets[1], model.predictor(pooled[4:]))
    masked = make_model().target.encode(views, model.backbone.draw_mask(views))
    assert not torch.allclose(masked, pooled, atol=1e-3)


def test_only_the_student_drops_paths():
    config = toy_vicmae_config()
    backbone = {**config['backbone'], 'drop_path_rate': 0.9}
    model = make_model(backbone=backbone).train()
    assert model.backbone.layers[1].training
    assert not model.target.backbone.layers[1].training
    assert model.target.embedder.training


@pytest.mark.parametrize('projector', [None, HEAD])
def test_checkpoint_without_a_teacher_starts_one_from_the_student(projector):
    model = make_model(projector=projector)
    randomize(model)
    state = {k: v for k, v in model.state_dict().items() if not k.startswith('target.')}
    other = make_model(projector=projector)
    load_weights(other, state, source='a.pth')  # strictly
    assert all(torch.equal(teacher, student) for _, teacher, student in parts_of(other))
    assert torch.equal(other.predictor[0].weight, model.predictor[0].weight)
    teacher = next(iter(other.target.parameters()))
    teacher.data.add_(1)
    assert not torch.equal(teacher, next(iter(other.backbone.parameters())))  # no shared memory


def test_checkpoint_with_a_target_head_starts_a_teacher():
    trained, model = MODELS.build(toy_vicmae_config()), make_model()
    randomize(trained)
    assert any(key.startswith('target.head.') for key in trained.state_dict())
    load_weights(model, trained.state_dict(), source='a.pth', strict=False)
    assert torch.equal(model.backbone.cls_token, trained.backbone.cls_token)
    assert all(torch.equal(teacher, student) for _, teacher, student in parts_of(model))


def test_teacher_of_pretrained_weights_is_kept(tmp_path):
    trained = make_model()
    randomize(trained)
    trained.update_target(0.5)
    torch.save(trained.state_dict(), tmp_path / 'trained.pth')
    model = make_model(init_cfg=dict(type='Pretrained', checkpoint=str(tmp_path / 'trained.pth')))
    for (name, teacher, student), (_, expected, _) in zip(
        parts_of(model), parts_of(trained), strict=True
    ):
        assert torch.equal(teacher, expected), name
        assert not (teacher.requires_grad or torch.equal(teacher, student)) or 'pos_' in name, name


def test_another_size_warns_once_for_student_and_teacher():
    backbone = toy_vicmae_config()['backbone'] | dict(resize_positions=True)
    model = make_model(backbone=backbone)
    with pytest.warns(UserWarning, match='resized') as caught:
        model.loss([torch.randn(4, 3, 24, 16) for _ in range(2)])
    assert len(caught) == 1
    larger = MODELS.build(
        {**toy_vicmae_config(), 'target': dict(type='EMATarget')}
        | dict(backbone={**toy_vicmae_config()['backbone'], 'img_size': 24})
    )
    with pytest.warns(UserWarning, match='resized') as caught:
        load_weights(larger, model.state_dict(), source='a.pth')
    assert len(caught) == 1


def test_initial_weights_of_the_student_are_those_without_a_teacher():
    torch.manual_seed(5)
    model = make_model()
    torch.manual_seed(5)
    plain = MODELS.build({**toy_vicmae_config(), 'target': dict(type='SharedTarget')})
    plain.init_weights()
    for name, value in plain.state_dict().items():
        assert torch.equal(model.state_dict()[name], value), name


@pytest.mark.parametrize('momentum', [-0.1, 1.5, 75])
def test_momentum_outside_zero_to_one_is_refused(momentum):
    with pytest.raises(
        ValueError, match=rf'that is kept, in \[0, 1\], got {momentum}\. Usual values'
    ):
        EMATarget(momentum)


def test_teacher_of_a_checkpointed_student_has_separate_layers():
    config = toy_vicmae_config()
    model = make_model(backbone={**config['backbone'], 'with_cp': True})
    frames = torch.randn(2, 3, 16, 16)
    (before,) = model.target.backbone(frames)
    randomize(model.backbone)
    assert torch.equal(model.target.backbone(frames)[0], before)
