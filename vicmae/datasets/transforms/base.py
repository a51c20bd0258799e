# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
from mmcv.transforms import BaseTransform


class Transform(BaseTransform):
    """A transform whose `repr` shows its public attributes."""

    def __repr__(self) -> str:
        settings = (f'{k}={v!r}' for k, v in vars(self).items() if not k.startswith('_'))
        return f'{type(self).__name__}({", ".join(settings)})'
