# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Something-Something v2: data/ssv2/{train,val}.txt have a line `videos/1234.webm 12` for each video."""

data_root = 'data/ssv2'
num_classes = 174
