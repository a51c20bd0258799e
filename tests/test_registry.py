# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
import pytest
from mmengine import registry as root
from mmengine.registry import DefaultScope

from vicmae import registry

REGISTRIES = [registry.RUNNERS, registry.LOOPS, registry.MODELS]


@pytest.mark.parametrize(('old', 'new'), registry.RENAMED.items())
def test_an_old_type_name_is_found_with_a_warning(old, new):
    expected = next(cls for r in REGISTRIES if (cls := r.get(new)) is not None)
    with pytest.warns(FutureWarning, match=f"`type='{old}'` is now `type='{new}'`"):
        found = [cls for r in REGISTRIES if (cls := r.get(old)) is not None]
    assert found == [expected]


def test_an_old_type_name_is_found_from_mmengine_and_with_its_scope():
    with pytest.warns(FutureWarning, match='ViewPreprocessor'):
        scoped = root.MODELS.get('vicmae.TwoViewPreprocessor')
    with (
        DefaultScope.overwrite_default_scope('vicmae'),
        pytest.warns(FutureWarning, match='ViewPreprocessor'),
    ):
        built = root.MODELS.build(dict(type='TwoViewPreprocessor'))
    assert type(built) is scoped is registry.MODELS.get('ViewPreprocessor')


def test_a_current_type_name_gives_no_warning(recwarn):
    assert registry.LOOPS.get('EpochLoop').__name__ == 'EpochLoop'
    assert not [w for w in recwarn if w.category is FutureWarning]
