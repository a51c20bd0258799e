# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""A small set of labelled images of your own or of the table in configs/vicmae/benchmarks/README.md.

Class folders: data/small/{train,val}/<class>/*. `--cfg-options data_root=FOLDER num_classes=N` takes another set.
"""

data_root = 'data/small'
num_classes = 10
