# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import mmpretrain
import torch
from mmengine.runner import TestLoop, autocast

from vicmae import __version__
from vicmae.checkpoints.state import whole_state
from vicmae.errors import ConfigError
from vicmae.evaluation.feature_cache import (
    FeatureCache,
    Row,
    hash_data,
    hash_protocol,
    hash_weights,
    join_features,
    part_features,
)
from vicmae.evaluation.metrics.predictions import each_once
from vicmae.registry import LOOPS, MODELS
from vicmae.utils.distributed import GatherOnCPU, rank_and_world_size, unwrapped

_SAMPLES_AT_ONCE = 1024


@LOOPS.register_module()
class FeatureTestLoop(TestLoop):
    """Tests frozen features: computes them once, caches them in a file, and passes them to the evaluators.

    The file is read again while weights, data and protocol are the same, for other evaluators too.

    Args:
        args: Arguments of MMEngine's `TestLoop`, as `kwargs`.
        cache_dir: Folder of cached features; None for no cache.
        over_time: Config of the module that joins the features of a clip's frames, or of the time steps of a backbone
            of clips. If None, `MeanOverTime` joins frames, and the aggregator pools all tokens of a backbone of clips.
        kwargs: Further arguments of `TestLoop`.
    """

    def __init__(
        self,
        *args: Any,
        cache_dir: str | None = 'work_dirs/features',
        over_time: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self.cache_dir = cache_dir
        self.over_time = over_time
        self._rows: list[Row] = []

    def run(self) -> dict[str, float]:
        """Runs the test and returns the metrics of all evaluators."""
        self.runner.call_hook('before_test')
        self.runner.call_hook('before_test_epoch')
        self.runner.model.eval()
        model = unwrapped(self.runner.model)
        if self.over_time is not None:
            model.join_over_time(MODELS.build(self.over_time))
        rows = self._read_or_compute()
        rank, world_size = rank_and_world_size()
        share = rows[rank::world_size]
        for start in range(0, len(share), _SAMPLES_AT_ONCE):
            self.evaluator.process(data_samples=share[start : start + _SAMPLES_AT_ONCE])
        metrics = self.evaluator.evaluate(len(rows))
        self.runner.call_hook('after_test_epoch', metrics=metrics)
        self.runner.call_hook('after_test')
        return metrics

    def _read_or_compute(self) -> list[Row]:
        gather = GatherOnCPU()
        cache = self._find_cache(gather)
        kept = cache.read() if cache is not None else None
        if all(gather(kept is not None)) and kept is not None:
            return kept
        self._rows = []
        for number, batch in enumerate(self.dataloader):
            self.run_iter(number, batch)
        parts = gather(part_features(self._rows))
        rows = _in_order([row for part in parts for row in join_features(*part)])
        if not rows:
            raise ConfigError('There is nothing to test: none of the files could be read.')
        if cache is not None and rank_and_world_size()[0] == 0:
            cache.write(rows, missing=len(self.dataloader.dataset) - len(rows))
        return rows

    def _find_cache(self, gather: GatherOnCPU) -> FeatureCache | None:
        if self.cache_dir is None:
            return None
        hashes = None
        state = whole_state(self.runner.model)  # all ranks take part where the model is sharded
        if rank_and_world_size()[0] == 0:
            model, cfg = unwrapped(self.runner.model), self.runner.cfg
            hashes = (
                hash_weights(state['state_dict']),
                hash_data(self.dataloader.dataset),
                hash_protocol(
                    model=cfg.get('model'),
                    dataset=(cfg.get('test_dataloader') or {}).get('dataset'),
                    over_time=self.over_time,
                    half=self.fp16,
                    device=next(model.parameters()).device.type,
                    versions=(torch.__version__, mmpretrain.__version__, __version__),
                ),
            )
        return FeatureCache(Path(self.cache_dir), *gather(hashes)[0])

    @torch.no_grad()
    def run_iter(self, idx: int, data_batch: Any) -> None:
        """Computes the features of a batch."""
        self.runner.call_hook('before_test_iter', batch_idx=idx, data_batch=data_batch)
        with autocast(enabled=self.fp16):
            outputs = self.runner.model.test_step(data_batch)
        self._rows += [self._row_of(sample) for sample in outputs]
        self.runner.call_hook(
            'after_test_iter', batch_idx=idx, data_batch=data_batch, outputs=outputs
        )

    def _row_of(self, sample: Any) -> Row:
        if 'feature' not in sample:
            raise ConfigError(
                f'FeatureTestLoop tests frozen features, and {type(unwrapped(self.runner.model)).__name__} gives none. '
                '`test_cfg.type=TestLoop` tests what it predicts.'
            )
        return dict(
            sample.metainfo_items(),
            feature=sample.feature.float().cpu(),
            gt_label=int(sample.gt_label),
        )


def _in_order(rows: Sequence[Row]) -> list[Row]:
    """Returns each sample once, in an order that doesn't depend on ranks or batches."""
    names = ('probe', 'role', 'path', 'sample_idx')
    return sorted(each_once(rows), key=lambda row: [str(row.get(name)) for name in names])
