# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""ViC-MAE whose contrast sees half of the channels."""

_base_ = '../vicmae.py'

half = dict(type='ChannelShareHead', share=0.5)
model = dict(predictor=half, target=dict(head=half))
