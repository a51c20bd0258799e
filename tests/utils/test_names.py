# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
import pytest

from vicmae.utils.names import distinct_names


@pytest.mark.parametrize(
    ('paths', 'names'),
    [
        (['runs/a/epoch_1.pth'], ['epoch_1.pth']),
        (['runs/a/mae.pth', '/x/vicmae.pth'], ['mae.pth', 'vicmae.pth']),
        (['runs/a/epoch_1.pth', 'runs/b/epoch_1.pth'], ['a/epoch_1.pth', 'b/epoch_1.pth']),
        (['1/s/x.jpg', '2/s/x.jpg', 'y.jpg'], ['1/s/x.jpg', '2/s/x.jpg', 'y.jpg']),
        (['x.jpg', 'a/x.jpg'], ['x.jpg', 'a/x.jpg']),
        (['a/x.pth', 'a/x.pth', 'b/y.pth'], ['x.pth (1)', 'x.pth (2)', 'y.pth']),
    ],
)
def test_names_are_as_short_as_tells_files_apart(paths, names):
    assert distinct_names(paths) == names
